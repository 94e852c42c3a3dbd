"""Models behind a test client."""

from contextlib import contextmanager

import pytest

pytest.importorskip("fastapi", reason="needs FastAPI, the extra serve")
pytest.importorskip("prometheus_client", reason="needs prometheus-client, the extra serve")

from fastapi.testclient import TestClient

from recbole_tme.serving.recommender import Recommender
from recbole_tme.serving.server.app import make_app
from recbole_tme.serving.server.models import Served


def served(bundles, name="a", path=None):
    return Served(name, path or bundles / name, Recommender.load)


@contextmanager
def running(models, *given, **options):
    with TestClient(make_app(models, *given, **options), base_url="http://localhost") as client:
        yield client
