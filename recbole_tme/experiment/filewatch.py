"""Which files of clicks a model opens by itself, past the data set object it is given."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Clicks lie in such files: atomic ones and the binary copy beside them.
CLICK_FILES = (".inter", ".cache.npz")

_watching: list[list[str]] = []
_installed = False


@contextmanager
def watched_files() -> Iterator[list[str]]:
    """Collect the files of clicks that Python code opens inside, whether or not they exist, each once.

    Python reports every open of a file by name to its audit hooks; libraries that open files in C++ do not pass there.
    An audit hook stays for the life of the process, and does nothing while nobody watches.
    """
    global _installed
    if not _installed:
        sys.addaudithook(_heard)
        _installed = True
    opened: list[str] = []
    _watching.append(opened)
    try:
        yield opened
    finally:
        # By identity: lists of equal content are equal.
        _watching[:] = [other for other in _watching if other is not opened]


def _heard(event: str, arguments: tuple) -> None:
    if event != "open" or not _watching or not isinstance(arguments[0], str | bytes):
        return
    name = os.fsdecode(arguments[0])
    if name.endswith(CLICK_FILES):
        for opened in _watching:
            if name not in opened:
                opened.append(name)
