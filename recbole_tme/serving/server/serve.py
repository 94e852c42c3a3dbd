"""A server's process: its socket, its time limits, its reloads and how it stops."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import signal
import socket
from collections.abc import Callable

import torch

from recbole_tme.errors import UserError
from recbole_tme.serving.server.limits import impatient_protocol
from recbole_tme.serving.server.metrics import Metrics
from recbole_tme.serving.server.models import Models
from recbole_tme.utils.hardware import keep_freed_memory

# Connections at a time; whoever comes next is told to come back (503). Bounds the memory whatever the load.
MAX_CONNECTIONS = 1000
# Seconds that requests under way get to finish when the server is told to stop.
GRACE = 3


def serve(app: Callable, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Answer what comes to a socket until SIGINT or SIGTERM, from the main thread.

    Args:
        app: the ASGI application.
        listener: where.
        ready: called when signals can stop it.
    """
    import uvicorn

    options = uvicorn.Config(
        app,
        http=impatient_protocol(),
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=GRACE,
    )
    server = uvicorn.Server(options)
    # uvicorn raises the signal it was stopped by once more when all is done; that is no error here.
    handled = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: setattr(server, "should_exit", True)) for number in handled]
    # Each batch takes and frees the same large blocks; and two threads for scoring would leave none for listening.
    keep_freed_memory()
    torch.set_num_threads(1)
    try:
        ready()
        server.run(sockets=[listener])
    finally:
        for number, handler in zip(handled, before):
            signal.signal(number, handler)


class Reloader:
    """Reloads models: all of them at SIGHUP, and those whose files have changed, where they are watched.

    Args:
        models: of the server.
        every: seconds between two looks at the files; None to leave them alone.
    """

    def __init__(self, models: Models, every: float | None):
        self._models, self._every = models, every

    async def __call__(self, metrics: Metrics) -> None:
        """Reload until cancelled; runs beside the server, in its event loop."""
        loop, hangup = asyncio.get_running_loop(), asyncio.Event()
        # Only the main thread gets signals; a test's server may run in another one.
        with contextlib.suppress(ValueError, RuntimeError, NotImplementedError, AttributeError):
            loop.add_signal_handler(signal.SIGHUP, hangup.set)
        while True:
            try:
                await asyncio.wait_for(hangup.wait(), self._every)
                hangup.clear()
                chosen = list(self._models.by_name.values())
            except asyncio.TimeoutError:
                chosen = [served for served in self._models.by_name.values() if served.has_changed()]
            for served in chosen:
                replaced = await loop.run_in_executor(None, served.reload)
                metrics.reloads.labels(served.name, "done" if replaced else "failed").inc()


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
    except (OSError, OverflowError, TypeError, ValueError) as error:
        listener.close()
        # What Python raises for a name that cannot be spelt for the network, and that the system is not asked for.
        is_name = isinstance(error, TypeError | ValueError)
        reason = "no host can be called so" if is_name else getattr(error, "strerror", None) or error
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
