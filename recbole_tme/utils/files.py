"""Files written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from recbole_tme.errors import UserError


@contextmanager
def writing(path: Path):
    """Turn "read-only", "disk full" and the like into one line that names the file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"cannot write {path}: {reason}; free space or choose another folder (a run's is --run_dir)"
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, never sees half of it.

    Raises:
        UserError: the directory is read-only or the disk is full.
    """
    with replacing(path) as file:
        file.write(content)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes that ask for the same out of a folder while the block runs; a process that dies lets go.

    Nothing is written. Where the system or the file system has no such locks nobody is kept out.

    Raises:
        UserError: another process is in it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with writing(folder):
        handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{folder} is in use: another process trains in it; wait until it has finished") from error
        except OSError:
            # Network file systems may refuse.
            pass
        yield
    finally:
        os.close(handle)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of ``path`` once the block is done, and leaves no trace if it fails.

    Raises:
        UserError: the directory is read-only or the disk is full.
    """
    with writing(path):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
            # mkstemp makes files private; results are made to be read by others.
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
