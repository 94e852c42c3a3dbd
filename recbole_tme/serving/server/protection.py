"""What every answer of the server carries, what a request may not exceed, and who may ask."""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import stat
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from recbole_tme.errors import UserError

# The page asks this server only, whatever a title or a bug may put into it; nobody may frame it.
SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
MAX_BODY = 2**20
# Seconds for a whole body.
BODY_SECONDS = 15
BODY_REFUSED = {
    408: f"the body took over {BODY_SECONDS} seconds",
    413: f"the body is too large; it may have {MAX_BODY} bytes",
}
# What a body that is too large may send before the connection is cut: a client that is still sending reads no answer.
PATIENCE = 64 * 2**20
# Answered without the token: what a load balancer asks for, and the pages, which hold nothing of the model.
OPEN_PATHS = frozenset(
    {"/health", "/ready", "/", "/page.css", "/icon.svg", "/docs", "/openapi.json"}
    | {f"/{name}.js" for name in ("page", "parts", "asking", "reasons", "code", "docs")}
)
# What a client may call its request.
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
PREFLIGHT = ((b"access-control-allow-methods", b"GET, HEAD, POST"), (b"access-control-max-age", b"600"),
             (b"access-control-allow-headers", b"content-type, authorization, x-request-id"))  # fmt: skip

# Called with what the access log says of a request.
Report = Callable[[dict], None]


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        token: what ``Authorization: Bearer`` must say; None lets everybody ask.
        origins: of the web pages elsewhere that may ask; "*" stands for all.
        hosts: names of this server that a request may give, without port; None for any.
    """

    token: str | None = None
    origins: Collection[str] = ()
    hosts: Collection[str] | None = None


def read_token(file: Path) -> str:
    """The token in a file.

    Raises:
        UserError: it cannot be read, everybody on this machine can read it, or it is no line of visible characters.
    """
    try:
        if file.stat().st_mode & stat.S_IROTH:
            raise UserError(f"{file}: everybody on this machine can read the token; chmod o-r {file}")
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{file}: cannot be read ({getattr(error, 'strerror', None) or error}); name another"
        ) from error
    if not re.fullmatch(r"[!-~]{16,}", token):
        raise UserError(f"{file}: must hold one line of at least 16 letters, digits or signs; openssl rand -hex 32")
    return token


def protected(app: Callable, access: Access, report: Report) -> Callable:
    """An ASGI application that checks who asks, bounds what is sent and for how long, adds the security headers and the
    request's id, answers HEAD as GET without a body, tells those whom it has to drop because it is being stopped (503),
    and reports every request.

    Args:
        app: what is protected.
        access: who may ask.
        report: called at the end of each request with ``id``, ``method``, ``path``, ``status``, ``seconds``, ``bytes``
            and ``client``.
    """
    fixed = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]

    async def guarded(scope, receive, send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return

        started, seen = time.perf_counter(), {"status": None, "bytes": 0}
        asked = {name: value.decode("latin-1") for name, value in scope["headers"]}
        given = asked.get(b"x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        added = [*fixed, (b"x-request-id", request_id.encode()), *cors_headers(access, asked.get(b"origin"))]
        is_head = scope["method"] == "HEAD"

        async def send_guarded(message) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                message = message | {"headers": [*message.get("headers", ()), *added]}
            elif message["type"] == "http.response.body":
                if is_head:
                    message = message | {"body": b""}
                seen["bytes"] += len(message.get("body", b""))
            await send(message)

        try:
            if await refused(scope, asked, access, send_guarded):
                return
            status, body = await read_body(receive)
            if body is None:
                await refuse(send_guarded, status, BODY_REFUSED[status])
                return
            unread = [{"type": "http.request", "body": body, "more_body": False}]

            async def receive_again():
                return unread.pop() if unread else await receive()

            await app(scope | {"method": "GET"} if is_head else scope, receive_again, send_guarded)
        except asyncio.CancelledError:
            if seen["status"] is not None:
                raise
            await refuse(send_guarded, 503, "the server is being stopped")
        finally:
            about = {"id": request_id, "method": scope["method"], "path": scope["path"], **seen}
            client = scope.get("client")
            report(about | {"seconds": time.perf_counter() - started, "client": client[0] if client else None})

    return guarded


async def refused(scope, asked: dict[bytes, str], access: Access, send: Callable) -> bool:
    """Answer a request by its head alone, where that is enough: another host's, one without the token, a preflight."""
    if access.hosts is not None and host_name(asked.get(b"host", "")) not in access.hosts:
        # A page elsewhere can make its own name point here, and would then be let in by the browser.
        await refuse(send, 421, "this server is not the host that was asked for")
        return True
    if scope["method"] == "OPTIONS" and b"access-control-request-method" in asked:
        allowed = PREFLIGHT if cors_headers(access, asked.get(b"origin")) else ()
        await send({"type": "http.response.start", "status": 204, "headers": list(allowed)})
        await send({"type": "http.response.body", "body": b""})
        return True
    if access.token is not None and scope["path"] not in OPEN_PATHS:
        scheme, _, token = asked.get(b"authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), access.token.encode()):
            await refuse(
                send, 401, "a token is needed: Authorization: Bearer TOKEN", [(b"www-authenticate", b"Bearer")]
            )
            return True
    return False


def host_name(host: str) -> str:
    """The name in a Host header, in small letters and without the port."""
    name = host.strip().lower()
    return name.partition("]")[0] + "]" if name.startswith("[") else name.partition(":")[0]


def cors_headers(access: Access, origin: str | None) -> list[tuple[bytes, bytes]]:
    """What tells a browser that a page of this origin may read the answer; nothing where it may not."""
    if origin is None or not ({origin, "*"} & set(access.origins)):
        return []
    return [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"Origin"),
            (b"access-control-expose-headers", b"x-request-id")]  # fmt: skip


async def read_body(receive: Callable) -> tuple[int, bytes | None]:
    """A request's body; or None and the status of the refusal where it is too large or too slow. Never more than
    ``MAX_BODY`` bytes of it are kept."""
    body, size = bytearray(), 0
    end = time.monotonic() + BODY_SECONDS
    while size <= PATIENCE:
        try:
            message = await asyncio.wait_for(receive(), end - time.monotonic())
        except asyncio.TimeoutError:
            return 408, None
        part = message.get("body", b"")
        size += len(part)
        if size <= MAX_BODY:
            body += part
        # A client that hangs up sends "http.disconnect", which has no more body either.
        if not message.get("more_body", False):
            break
    return (413, None) if size > MAX_BODY else (200, bytes(body))


async def refuse(send: Callable, status: int, line: str, headers=()) -> None:
    """Answer with an error, in the form that all of the server's errors have, and close the connection."""
    content = json.dumps({"error": line}).encode()
    own = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send(
        {"type": "http.response.start", "status": status, "headers": [*own, (b"connection", b"close"), *headers]}
    )
    await send({"type": "http.response.body", "body": content})
