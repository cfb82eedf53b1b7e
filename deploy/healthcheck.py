"""Exit code 0 if the server in this container is ready. Stands alone, and speaks to it directly, past any proxy."""

import os
import socket
import sys

TIMEOUT_SECONDS = 4


def is_ready(port: int) -> bool:
    """Ask /ready. Raises OSError: nobody answers."""
    with socket.create_connection(("localhost", port), TIMEOUT_SECONDS) as connection:
        connection.sendall(b"GET /ready HTTP/1.0\r\nHost: localhost\r\n\r\n")
        return connection.recv(64).split(b" ")[1:2] == [b"200"]


if __name__ == "__main__":
    try:
        sys.exit(not is_ready(int(os.environ.get("HECTOR_SERVER__PORT") or 8080)))
    except (OSError, ValueError) as error:
        sys.exit(f"not ready: {error}")
