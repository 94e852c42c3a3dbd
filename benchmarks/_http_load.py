"""Load for a server on this machine: so many clients at a time, each of which asks again as soon as it is answered."""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit


class Load(NamedTuple):
    """What clients got.

    Attributes:
        seconds: how long they asked.
        latencies: seconds from each question to the end of its answer, of those answered with 200.
        failures: how often each other outcome happened, by status or by the name of the error.
    """

    seconds: float
    latencies: list[float]
    failures: Counter

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Milliseconds within which this share of the answers came."""
        if len(self.latencies) < 2:
            return float("nan")
        return 1e3 * statistics.quantiles(self.latencies, n=1000, method="inclusive")[round(1000 * share) - 1]


def load(url: str, sessions: Sequence[Sequence[str]], clients: int, seconds: float, k: int = 20) -> Load:
    """Ask ``POST /recommend`` for a while.

    Args:
        url: of the server.
        sessions: external item ids; the clients take them in turns.
        clients: connections at a time, each kept open.
        seconds: after which nobody asks again; answers under way are waited for, 30 seconds at most.
        k: items per session.
    """
    host, port = urlsplit(url).hostname, urlsplit(url).port
    requests = itertools.cycle([_request(host, port, {"session": list(s), "k": k}) for s in sessions])
    return asyncio.run(_load(host, port, requests, clients, seconds))


def _request(host: str, port: int, content: dict) -> bytes:
    body = json.dumps(content).encode()
    head = f"POST /recommend HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def _load(host: str, port: int, requests, clients: int, seconds: float) -> Load:
    latencies, failures = [], Counter()
    started = time.perf_counter()
    end = started + seconds

    async def client() -> None:
        writer = None
        while time.perf_counter() < end:
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection(host, port)
                asked = time.perf_counter()
                writer.write(next(requests))
                status, closes = await _answer(reader)
                if status == 200:
                    latencies.append(time.perf_counter() - asked)
                else:
                    failures[str(status)] += 1
                if closes:
                    writer.close()
                    writer = None
            except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
                failures[type(error).__name__] += 1
                writer = None
                await asyncio.sleep(0.05)
        if writer is not None:
            writer.close()

    tasks = [asyncio.create_task(client()) for _ in range(clients)]
    _, late = await asyncio.wait(tasks, timeout=seconds + 30)
    for task in late:
        failures["no answer"] += 1
        task.cancel()
    return Load(time.perf_counter() - started, latencies, failures)


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Status of an answer that is read to its end, and whether the server closes the connection after it."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    fields = dict(line.split(": ", 1) for line in head[1:] if line)
    await reader.readexactly(int(fields["content-length"]))
    return int(head[0].split()[1]), fields.get("connection") == "close"
