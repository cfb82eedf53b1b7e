"""The sockets on which `hector serve` takes connections."""

from __future__ import annotations

import socket
import struct

ACCEPTED_AT_ONCE = 32
_TCP_INFO = struct.Struct("24xI")
"""Of a listening socket on Linux: how many connections nobody has accepted yet."""


TRY_ANOTHER = "try another with --port, or 0 for a free one"


class CannotListen(Exception):
    """The sentence says where and why."""


def bind(host: str, port: int, *, is_shared: bool = False) -> socket.socket:
    """A socket on the port (0: a free one), which does not listen yet. Raises CannotListen.

    With `is_shared` other sockets of this user may be bound to it in the same way. Of those that listen, the system
    chooses one for each new connection.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host.strip("[]"), port))
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        raise CannotListen(f"cannot listen on {host} port {port}: {reason}") from error
    return listener


def reserve(host: str, port: int) -> socket.socket:
    """A socket that keeps the port (0: a free one) for shared ones, and takes no connection. Raises CannotListen.

    Something else that shares the port would get a part of the connections: so it has to be free at first.
    """
    with bind(host, port) as probe:
        port = probe.getsockname()[1]
    return bind(host, port, is_shared=True)


def copies_of(listener: socket.socket) -> list[socket.socket]:
    """The socket and copies of it, which share its queue of new connections.

    uvloop takes one connection of each socket in a round of its loop. With thousands of streams a round takes a tenth
    of a second, and a single socket let new clients, and `/health`, wait for many.
    """
    return [listener, *[listener.dup() for _ in range(ACCEPTED_AT_ONCE - 1)]]


def waiting_at(listener: socket.socket) -> int:
    """How many connections nobody has accepted yet; 0 where the system does not say."""
    try:
        found = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        waiting: int = _TCP_INFO.unpack(found)[0]
        return waiting
    except (AttributeError, OSError):
        return 0
