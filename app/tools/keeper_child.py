"""The keeper: a process that runs one command, and ends when nothing of it is left. `keeper.py` starts it.

Its input: four bytes of length and an order (JSON), then a byte when the command is to be stopped; when it closes, for
the server has died, everything is killed at once. Its output is what the command writes, up to a bound; its error
output is one report (JSON) at the end. Uses the standard library only, and starts in a few milliseconds.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import select
import shutil
import signal
import time
from contextlib import suppress
from typing import Any

from app.tools.confine import confine
from app.tools.pids_group import PidsGroup
from app.tools.process_tree import ProcessTree, become_subreaper, die_with_parent, memory_of

Order = dict[str, Any]

WATCH_SECONDS = 0.02
"""How often the tree is counted: processes that multiply are found before they are many."""
_END_SECONDS = 0.01
_NICENESS = 10
"""Commands give way to the server, and to the keeper that has to kill them faster than they multiply."""
_CHUNK = 1 << 18
_SERVER, _OUTPUT, _REPORT = 0, 1, 2


class Output:
    """What the command writes: its beginning is passed on as it comes, its end is kept, the rest is counted."""

    def __init__(self, source: int, *, head: int, tail: int) -> None:
        os.set_blocking(source, False)
        os.set_blocking(_OUTPUT, False)
        _widen(source)
        self.source = source
        self.is_open = True
        self.size = 0
        self.pending = b""
        """What the server has not taken yet; while there is any, nothing is read."""
        self._head = head
        self._tail = tail
        self._kept = bytearray()

    def take(self) -> None:
        """Take what is there."""
        try:
            chunk = os.read(self.source, _CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            self.is_open = False
            return
        self.pending = chunk[: max(0, self._head - self.size)]
        self.size += len(chunk)
        self._kept += chunk[len(self.pending) :]
        if len(self._kept) > 2 * self._tail + _CHUNK:
            del self._kept[: -self._tail]
        self.pass_on()

    def pass_on(self) -> None:
        """Give the server as much as it takes now. Raises BrokenPipeError: it is gone."""
        try:
            while self.pending:
                self.pending = self.pending[os.write(_OUTPUT, self.pending) :]
        except BlockingIOError:
            pass

    @property
    def tail(self) -> bytes:
        return bytes(self._kept[-self._tail :])


class Keeper:
    """Runs one order. `reason`: why the command was ended; `None`: it ended by itself."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._wake = _wake_on_child()
        self.reason: str | None = None
        self._is_orphan = False

    def run(self) -> dict[str, Any]:
        become_subreaper()
        source, target = os.pipe()
        failed, failing = os.pipe()
        group = PidsGroup(self._order["max_processes"])
        tree = ProcessTree(_start(self._order, target, failing, group))
        os.close(target)
        os.close(failing)
        output = Output(source, head=self._order["head"], tail=self._order["tail"])
        try:
            self._watch(tree, output)
        except BrokenPipeError:
            self._is_orphan = True
        self._end(tree, output)
        group.close()
        with suppress(BrokenPipeError):
            self._pass_on_rest(output)
        problem = os.read(failed, 1000).decode(errors="replace")
        return self._report(tree, output, problem)

    def _watch(self, tree: ProcessTree, output: Output) -> None:
        """Until the command has ended, or has to."""
        deadline = time.monotonic() + self._order["seconds"]
        next_count = time.monotonic() + WATCH_SECONDS
        while self.reason is None:
            tree.reap()
            if tree.status is not None:
                return
            self._wait(output, min(next_count, deadline) - time.monotonic())
            if time.monotonic() >= deadline:
                self.reason = "timeout"
            elif time.monotonic() >= next_count:
                self._count(tree)
                next_count = time.monotonic() + WATCH_SECONDS

    def _wait(self, output: Output, seconds: float) -> None:
        sources = [self._wake, *([] if self._is_orphan else [_SERVER])]
        sources += [output.source] if output.is_open and not output.pending else []
        ready, writable, _ = select.select(sources, [_OUTPUT] if output.pending else [], [], max(0.0, seconds))
        if self._wake in ready:
            os.read(self._wake, _CHUNK)
        if output.source in ready:
            output.take()
        if writable:
            output.pass_on()
        if _SERVER in ready:
            self._is_orphan = not os.read(_SERVER, _CHUNK)
            self.reason = "stopped"

    def _count(self, tree: ProcessTree) -> None:
        members = tree.members()
        if len(members) > self._order["max_processes"]:
            self.reason = "processes"
        elif sum(map(memory_of, members)) > self._order["max_memory"]:
            self.reason = "memory"

    def _end(self, tree: ProcessTree, output: Output) -> None:
        """End what is left: first politely, unless the server is gone or the processes multiply."""
        deadline = time.monotonic()
        if not tree.reap() and self.reason not in ("processes", "memory") and not self._is_orphan:
            tree.signal(signal.SIGTERM, skip=self._order["wrappers"])
            tree.signal(signal.SIGCONT)
            deadline += self._order["grace_seconds"]
        while not tree.reap():
            if len(tree.members()) > self._order["max_processes"]:
                self.reason, deadline = self.reason or "processes", 0.0
            is_killing = self._is_orphan or time.monotonic() >= deadline
            if is_killing:
                tree.signal(signal.SIGKILL)
            with suppress(BrokenPipeError):
                self._wait(output, _END_SECONDS / 10 if is_killing else _END_SECONDS)
        tree.kill_group()

    def _pass_on_rest(self, output: Output) -> None:
        """What is still in the pipe, where nobody writes any more."""
        size = -1
        while not self._is_orphan and (output.pending or (output.is_open and output.size > size)):
            size = output.size
            if output.pending:
                self._wait(output, 1.0)
            else:
                output.take()

    def _report(self, tree: ProcessTree, output: Output, problem: str) -> dict[str, Any]:
        code = None if tree.status is None else os.waitstatus_to_exitcode(tree.status)
        return {
            "reason": self.reason,
            "code": code,
            "size": output.size,
            "tail": output.tail.decode("latin-1"),
            "problem": problem,
        }


def _start(order: Order, target: int, failing: int, group: PidsGroup) -> int:
    """Start the command in a session of its own. Returns its pid; `failing` tells why it could not be started."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        group.join()
        os.nice(_NICENESS)
        die_with_parent()
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(target, 1)
        os.dup2(target, 2)
        os.chdir(order["folder"])
        if os.getcwd() != order["folder"]:
            raise OSError("the working directory was replaced by a link")
        for name, value in order["limits"].items():
            _limit(getattr(resource, name, None), value)
        confine(order["confine"])
        os.execve(order["program"], order["argv"], order["environment"])
    except BaseException as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        os.write(failing, (text or type(error).__name__).encode())
    os._exit(127)


def _limit(number: int | None, value: int) -> None:
    if number is None:  # not every system has every limit
        return
    _, hard = resource.getrlimit(number)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with suppress(ValueError, OSError):
        # At the hard limit of processor time the kernel kills without saying why.
        resource.setrlimit(number, (value, value + 1 if number == resource.RLIMIT_CPU else value))


def _wake_on_child() -> int:
    """A descriptor that can be read when a child ends, or when this process is asked to end."""
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    return readable


def _widen(pipe: int) -> None:
    """Let more fit into a pipe, so that what is only counted is counted fast."""
    with suppress(AttributeError, OSError):  # Linux, and within the limits of the user
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 20)


def _write(target: int, content: bytes) -> None:
    while content:
        content = content[os.write(target, content) :]


def _read_order() -> Order | None:
    size = int.from_bytes(_read_exactly(4), "big")
    content = _read_exactly(size)
    return json.loads(content) if len(content) == size > 0 else None


def _read_exactly(size: int) -> bytes:
    content = b""
    while len(content) < size and (piece := os.read(_SERVER, size - len(content))):
        content += piece
    return content


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    order = _read_order()
    if order is None:
        return
    report = _carry_out(order)
    with suppress(BrokenPipeError):
        _write(_REPORT, json.dumps(report).encode())


def _carry_out(order: Order) -> dict[str, Any]:
    try:
        os.mkdir(order["temporary"], 0o700)
    except OSError as error:
        return {"problem": f"no folder for its temporary files: {error.strerror}"}
    try:
        return Keeper(order).run()
    finally:
        shutil.rmtree(order["temporary"], ignore_errors=True)
