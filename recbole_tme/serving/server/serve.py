"""``recbole-tme serve``: recommendations over HTTP, and a page to try them in a browser."""

from __future__ import annotations

import ipaddress
import os
import socket

from recbole_tme.errors import UserError

# Connections at a time; whoever comes next is told to come back (503). Bounds the memory whatever the load.
MAX_CONNECTIONS = 1000
# Seconds that requests under way get to finish when the server is told to stop.
GRACE = 3


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any free one.

    Raises:
        UserError: the port is taken or impossible, or the host is no address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio switches TCP_NODELAY on only where it is: the body of an answer would else
    # wait for the client's delayed acknowledgement of its head, 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            # A port whose last connections are still closing can be taken at once.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen(MAX_CONNECTIONS)
        return listener
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{host} port {port} cannot be listened on ({reason}); choose another --port or --host") from (
            error
        )


def address(listener: socket.socket) -> str:
    """Where a browser finds a socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(listener: socket.socket) -> bool:
    """Whether only this machine reaches a socket."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback
