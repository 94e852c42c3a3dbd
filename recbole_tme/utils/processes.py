"""Starting processes from wherever a user's Python code stands."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import connection


@contextmanager
def without_main_module() -> Iterator[None]:
    """Let processes that are spawned inside not run the caller's main module again.

    A spawned process imports its parent's main module first. A script that calls this package outside
    ``if __name__ == "__main__":`` would start itself again in each process, and code from a notebook or from the
    standard input has no file to import. What runs in our processes is in modules of its own.
    """
    main = sys.modules["__main__"]
    kept = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
    try:
        vars(main).pop("__file__", None)
        main.__spec__ = None
        yield
    finally:
        vars(main).update(kept)


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Environment variables while the block lasts."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def end_with_parent() -> None:
    """End this process once its parent has ended.

    A killed parent ends nobody, and torch's own signal is lost on processes that ignore interrupts.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None, "called in the main process"
    connection.wait([parent.sentinel])
    os._exit(1)
