"""A client of ``recbole-tme serve`` in one file that needs nothing but Python 3.10: copy it to where it is wanted.

client = Client("http://127.0.0.1:8000")
client.recommend(["214563", "214716"], k=5)["items"]
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit


class Refused(Exception):
    """The server refused a request, or failed.

    Attributes:
        status: the HTTP status.
        fields: what is wrong with each field, where the server says so.
    """

    def __init__(self, status: int, line: str, fields: list[dict[str, str]] | None = None):
        super().__init__(f"{status}: {line}")
        self.status, self.fields = status, fields or []


class Client:
    """Keeps one connection open; use one client per thread.

    Args:
        url: of the server, such as ``http://127.0.0.1:8000``.
        token: what the server's token file holds; None if it asks for none.
        timeout: seconds to wait for an answer.

    Every method raises :class:`Refused` where the server answers with an error, and ``OSError`` where it cannot be
    reached.
    """

    def __init__(self, url: str, token: str | None = None, timeout: float = 10.0):
        parts = urlsplit(url)
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        if parts.scheme not in kinds or not parts.hostname:
            raise ValueError(f"url: must be http://HOST:PORT or https://HOST:PORT, not {url!r}")
        try:
            parts.hostname.encode("idna")
        except UnicodeError as error:
            raise ValueError(f"url: no host can be called {parts.hostname!r}") from error
        self._connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=timeout)
        self._base = parts.path.rstrip("/")
        self._headers = {} if token is None else {"authorization": f"Bearer {token}"}

    def recommend(self, session: Sequence[str | int], **options: Any) -> dict[str, Any]:
        """The best items for one session of external item ids in click order.

        Args:
            options: ``k``, ``exclude_seen``, ``explain``, ``model``, ``key`` and ``rules``; ``/docs`` describes them.

        Returns:
            ``model``, ``items`` (each with ``item``, ``title`` and ``score``), ``source``, ``unknown``, ``note``, and
            ``explanation`` where it was asked for.
        """
        return self._ask("POST", "/recommend", {"session": list(session), **options})

    def recommend_many(self, sessions: Sequence[Sequence[str | int]], **options: Any) -> list[dict[str, Any]]:
        """The answers to several sessions, in their order; see :meth:`recommend`."""
        return self._ask("POST", "/recommend", {"sessions": [list(one) for one in sessions], **options})["results"]

    def items(self, words: str = "", offset: int = 0, limit: int = 20, model: str | None = None) -> dict[str, Any]:
        """A page of the catalogue: ``items`` whose title or id holds the words, and whether there are ``more``."""
        query = {"q": words, "offset": offset, "limit": limit} | ({} if model is None else {"model": model})
        return self._ask("GET", f"/items?{urlencode(query)}")

    def models(self) -> list[dict[str, Any]]:
        """What the server tells of its models."""
        return self._ask("GET", "/models")["models"]

    def ready(self) -> dict[str, Any]:
        """Whether all models are loaded (``status``), and which reloads failed (``errors``)."""
        return self._ask("GET", "/ready")

    def close(self) -> None:
        """Close the connection; the next request opens another one."""
        self._connection.close()

    def _ask(self, method: str, path: str, content: dict | None = None) -> dict[str, Any]:
        body = None if content is None else json.dumps(content).encode()
        headers = self._headers | ({} if body is None else {"content-type": "application/json"})
        is_kept = self._connection.sock is not None
        try:
            status, answer = self._once(method, path, body, headers)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            self.close()
            # The server closes connections that were idle for a while; all it is asked for can be asked again.
            if not is_kept:
                raise
            status, answer = self._once(method, path, body, headers)
        if status != 200:
            try:
                found = json.loads(answer)
                line, fields = found["error"], found.get("fields")
            except (ValueError, TypeError, KeyError):
                line, fields = "something that is no server of recbole_tme answered", None
            raise Refused(status, line, fields)
        return json.loads(answer)

    def _once(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        try:
            self._connection.request(method, self._base + path, body, headers)
            response = self._connection.getresponse()
            return response.status, response.read()
        except BaseException:
            # A connection with half an answer in it can serve nobody.
            self.close()
            raise
