"""Processes that a library starts for us and that would outlive this one: a watcher ends them, however this one ends.

Ray's are the case: its own processes and workers notice for themselves that the program which started them was killed,
after half a minute or never. They are known by a mark in their environment, which every process hands on to those that
it starts; a cluster that was there before has none of them.
"""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

MARK = "RECBOLE_TME_STARTED_FOR"
# Seconds that marked processes have to end by themselves, and after which the watcher gives up.
GRACE, LONGEST = 0.5, 20.0


@contextmanager
def watched() -> Iterator[dict[str, str]]:
    """A watcher for the time of the block, which kills the marked processes once the block or this process has ended.

    Yields:
        The mark, as an environment variable to set while they are started.
    """
    mark = uuid.uuid4().hex
    # It learns of the end by its standard input, which nobody else holds open, and outlives signals to the terminal.
    watcher = subprocess.Popen(  # noqa: S603
        [sys.executable, __file__, mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert watcher.stdin is not None
    try:
        yield {MARK: mark}
    finally:
        watcher.stdin.close()
        watcher.wait()


def marked(mark: str) -> list[psutil.Process]:
    """The processes that have a mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            # It has ended meanwhile, or is another user's.
            continue
    return found


def end(mark: str) -> None:
    """End the processes that have a mark: those that do not do so by themselves are killed, and what they start."""
    started = time.monotonic()
    while (left := marked(mark)) and time.monotonic() - started < LONGEST:
        if time.monotonic() - started > GRACE:
            for process in left:
                try:
                    process.kill()
                except psutil.Error:
                    continue
        time.sleep(0.05)


if __name__ == "__main__":
    sys.stdin.read()
    end(sys.argv[1])
