"""The child process that runs a GGUF model: a script started by `llama_cpp.py` that imports nothing of ours.

    python llama_child.py MODEL SOCKET THREADS CONTEXT SLOTS

Serves the OpenAI API on the UNIX socket, prints `ready` once, and ends when its standard input ends: that is
when the parent says so, and also when the parent was killed.
"""

from __future__ import annotations

import contextlib
import os
import sys


def main(model: str, socket: str, threads: str, context: str, slots: str) -> None:
    # The library may print at any time; only our own word goes to the parent's pipe.
    parent = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames = [socket]
    params.n_ctx = int(context)
    params.n_parallel = int(slots)
    params.kv_unified = True  # otherwise the context is divided by the slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(threads)
    params.cache_ram_mib = 0  # the default is 8192
    params.ui = False
    params.verbosity = 0
    try:
        _server = xllamacpp.Server(params)
    except RuntimeError as exc:
        sys.exit(f"{model}: {exc}")

    print("ready", file=parent, flush=True)
    sys.stdin.buffer.read()

    with contextlib.suppress(OSError):
        os.unlink(socket)
        os.rmdir(os.path.dirname(socket))
    # No destructors: they would wait for a prompt that is being read.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
