"""Without a file left, nothing that a running server does may have to load a module first."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = r"""
import resource

import app.main
from app.llm import tokens
from app.llm.base import unescape
from app.llm.parse import StreamParser
from app.observability import neutral

tokens.count("ready")
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
try:
    open("/dev/null")
except OSError:
    pass
else:
    raise SystemExit("there are files left")
assert neutral.escape("a\n\0\u202e\x85") == "a\\n\\x00\\u202e\\x85"
assert unescape(b"\\ud800") == "\ufffd"
assert tokens.count("\ud800") > 0
parser = StreamParser()
event = b'data: {"choices": [{"index": 0, "delta": {"content": "\\ud83d"}, "x": 1}]}\n\n'
assert parser.feed(event) == []
print("done")
"""


def test_texts_are_handled_without_files() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("done\n", "")
