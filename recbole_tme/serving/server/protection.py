"""What every answer of the server carries, and what a request may not exceed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

# The page asks this server only, whatever a title or a bug may put into it; nobody may frame it.
SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
# What a body that is too large may send before the connection is cut: a client that is still sending reads no answer.
PATIENCE = 64 * 2**20


def protected(app: Callable, max_body: int) -> Callable:
    """An ASGI application that adds the security headers, refuses a body of more than ``max_body`` bytes (413), and
    tells those whom it has to drop because it is being stopped (503)."""
    headers = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]

    async def guarded(scope, receive, send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return

        started = False

        async def send_guarded(message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = message | {"headers": [*message.get("headers", ()), *headers]}
            await send(message)

        try:
            body = await read_body(receive, max_body)
            if body is None:
                await refuse(send_guarded, 413, f"the body is too large; it may have {max_body} bytes")
                return
            unread = [{"type": "http.request", "body": body, "more_body": False}]

            async def receive_again():
                return unread.pop() if unread else await receive()

            await app(scope, receive_again, send_guarded)
        except asyncio.CancelledError:
            if started:
                raise
            await refuse(send_guarded, 503, "the server is being stopped")

    return guarded


async def read_body(receive: Callable, max_body: int) -> bytes | None:
    """A request's body, or None where it is too large; never more than ``max_body`` bytes of it are kept."""
    body, size = bytearray(), 0
    while size <= PATIENCE:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size <= max_body:
            body += part
        # A client that hangs up sends "http.disconnect", which has no more body either.
        if not message.get("more_body", False):
            break
    return bytes(body) if size <= max_body else None


async def refuse(send: Callable, status: int, line: str) -> None:
    """Answer with an error, in the form that all of the server's errors have."""
    content = json.dumps({"error": line}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
