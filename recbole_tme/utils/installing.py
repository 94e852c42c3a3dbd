"""The command that installs what is missing, as it works here: from a clone, and for the interpreter that runs."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

RECBOLE = "recbole==1.2.1"
CLONE = Path(__file__).parents[2]


def pip_install(what: str) -> str:
    """``pip install WHAT`` by the running interpreter's pip, which is not always the one on the path."""
    interpreter = Path(sys.executable or "python")
    with suppress(ValueError):
        # As a user in the project's folder types it.
        interpreter = interpreter.relative_to(os.getcwd())
    return f"{interpreter} -m pip install {what}"


def install_extra(extra: str) -> str:
    """The command that installs an extra of the project (``tune``, ``serve``, ...) from where the project came from:
    the clone that it was installed from or is run from, else the package index."""
    # Slow to import, and this module is imported by everybody.
    import importlib.metadata
    import json
    from urllib.parse import unquote, urlparse

    try:
        origin = importlib.metadata.distribution("recbole_tme").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        # A clone that is run without being installed.
        return pip_install(f"'{CLONE}[{extra}]'")
    url = urlparse(json.loads(origin)["url"] if origin else "")
    source = unquote(url.path) if url.scheme == "file" else "recbole_tme"
    return pip_install(f"'{source}[{extra}]'")


def install_recbole() -> str:
    """The command that installs RecBole; without what it asks for, which this package declares where pip cannot."""
    return pip_install(f"--no-deps {RECBOLE}")


def recbole_missing() -> str:
    """What a user is told who has no RecBole, on one line."""
    return f"RecBole is not installed; run: {install_recbole()}"
