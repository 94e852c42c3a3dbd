"""Counters and histograms of a server, for Prometheus."""

from __future__ import annotations

import os
from collections.abc import Sequence

from recbole_tme.serving.answers import Recommendation

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
SESSIONS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
# Where the processes of a server with several workers share their numbers.
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


class Metrics:
    """What ``GET /metrics`` tells; of all workers together where there are several."""

    def __init__(self):
        from prometheus_client import CollectorRegistry, Counter, Histogram

        self._registry = CollectorRegistry()

        def made(kind, name: str, text: str, labels: Sequence[str] = (), **options):
            return kind(f"recbole_tme_{name}", text, labels, registry=self._registry, **options)

        self.requests = made(Counter, "requests", "Requests answered", ("path", "status"))
        self.seconds = made(Histogram, "request_seconds", "Time to answer a request", ("path",), buckets=SECONDS)
        self.batches = made(Histogram, "batch_sessions", "Sessions scored together", ("model",), buckets=SESSIONS)
        self.sessions = made(Counter, "sessions", "Sessions answered, by what made the list", ("model", "source"))
        self.unknown = made(Counter, "unknown_items", "Clicks on items that the model does not know", ("model",))
        self.reloads = made(Counter, "reloads", "Reloads of a model", ("model", "outcome"))
        self.overlap = made(
            Histogram, "shadow_overlap", "Share of the list that the shadow has too", ("model",), buckets=SHARES
        )
        self.dropped = made(Counter, "shadow_dropped", "Requests that the shadow was too slow for", ("model",))

    def answered(self, model: str, answers: Sequence[Recommendation]) -> None:
        """Count the answers to a request's sessions."""
        for answer in answers:
            self.sessions.labels(model, answer.source).inc()
            if answer.unknown:
                self.unknown.labels(model).inc(len(answer.unknown))

    def page(self) -> tuple[bytes, str]:
        """The text for Prometheus, and its media type."""
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = self._registry
        if SHARED_FOLDER in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        return generate_latest(registry), CONTENT_TYPE_LATEST
