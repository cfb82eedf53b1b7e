"""Stands in for a worker: loads nothing, listens on the shared ports, and does what a file beside it says.

Arguments as the parent of workers gives them, behind the path of a file: `{"box-1": ["exit 3", "serve"]}` says what
the worker of that name does at each start; the last word counts for all further ones. `serve`: be ready, and end well
at SIGTERM. `ignore`: be ready, and end at the second signal. `exit N`: end at once.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path


def main(file: Path, arguments: list[str]) -> None:
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    name, port, grpc_port, fd = options["--worker"].split(",")
    line = socket.socket(fileno=int(fd))
    starts = file.with_name(f"{name}.starts")
    starts.touch()
    with starts.open("a") as record:
        record.write(f"{os.getpid()} {options['--port']} {port} {grpc_port}\n")
    words = json.loads(file.read_text()).get(name, ["serve"])
    count = len(starts.read_text().splitlines())
    word, _, number = words[min(count, len(words)) - 1].partition(" ")
    if word == "exit":
        sys.exit(int(number))
    listening = [
        socket.create_server(("127.0.0.1", int(shared)), reuse_port=True)
        for shared in (options["--port"], grpc_port)
        if shared
    ]
    told = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, told)
    line.send(b"r")
    with file.with_name(f"{name}.signals").open("a", buffering=1) as heard:
        left = 2 if word == "ignore" else 1
        while left:
            got = signal.sigwait(told)
            heard.write(f"{signal.Signals(got).name}\n")
            left -= got != signal.SIGHUP
    for listener in listening:
        listener.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
