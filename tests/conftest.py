"""What every test shares: a cache directory of its own, one thread, and where the real data lies."""

import os
import sys
from pathlib import Path

import pytest
from helpers.browser import launched

ROOT = Path(__file__).parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"

# Two processes of a test must not fight over the cores, nor over the user's own cache.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def cache_directory(tmp_path_factory):
    """The data cache of this test session; the environment variable reaches subprocesses too."""
    directory = tmp_path_factory.mktemp("cache")
    before = os.environ.get("RECBOLE_TME_CACHE")
    os.environ["RECBOLE_TME_CACHE"] = str(directory)
    yield directory
    if before is None:
        del os.environ["RECBOLE_TME_CACHE"]
    else:
        os.environ["RECBOLE_TME_CACHE"] = before


@pytest.fixture(autouse=True)
def plain_command_line(monkeypatch):
    """RecBole's Config reads sys.argv; a test's configuration must not see pytest's own arguments."""
    monkeypatch.setattr("sys.argv", ["test"])


@pytest.fixture(autouse=True)
def own_plugins(monkeypatch):
    """The plugins that a test loads are gone after it, and their modules."""
    from recbole_tme.models import registry

    monkeypatch.setattr(registry, "_plugins", dict(registry._plugins))
    monkeypatch.setattr(registry, "_plugin_files", dict(registry._plugin_files))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("recbole_tme_plugin_"):
            del sys.modules[name]


@pytest.fixture(scope="module")
def browser():
    """A headless browser; the test is skipped where there is none."""
    with launched() as browser:
        yield browser


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip("needs the real data sets beside the project (../shared/data)")
    return SHARED_DATA
