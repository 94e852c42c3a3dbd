"""The key ``plugin``: code that a command line or a caller names is run, code that a file names is not.

Settings, run directories and studies come from others, and a file among them that named a Python file would make it run
with the reader's rights. So the key of a file only says what has to be named.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from recbole_tme.errors import UserError
from recbole_tme.models import registry


def load_named(files: Sequence[str]) -> list[str]:
    """Load plug-in files that the caller names; returns their absolute paths.

    Raises:
        UserError: a file is missing, or its code fails.
    """
    paths = [str(Path(file).expanduser().resolve()) for file in files]
    for path in paths:
        registry.load_plugin(path)
    return paths


def require_loaded(files: Sequence[str], place: str) -> list[str]:
    """The loaded plug-in files that a file of settings means: those paths, or files of the same names elsewhere.

    Args:
        files: as they stand in the file.
        place: where they stand.

    Raises:
        UserError: one is not loaded; it says how to name it.
    """
    found = []
    for file in files:
        path = Path(file).expanduser().resolve()
        loaded = registry.plugin_files()
        same = [one for one in loaded if one == path] or [one for one in loaded if one.name == path.name]
        if not same:
            raise UserError(
                f"{place} names the plugin {path}, which is code and is run only if you name it: look at it, then add "
                f"--plugin={shlex.quote(str(path))} (plugin= in Python)"
            )
        found.append(str(same[0]))
    return found
