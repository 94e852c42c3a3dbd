"""Files that are written whole or not at all, and the lock on a folder."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from recbole_tme.errors import UserError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn "read-only", "disk full" and the like into one line that names the file.

    Raises:
        UserError: the block raised an ``OSError``.
    """
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


def insert_between(path: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands between two markers of a text file.

    Raises:
        UserError: the file or a marker is missing.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; name a file that holds {begin} and {end}")
    before, found, rest = path.read_text(encoding="utf-8").partition(begin)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise UserError(f"{path} lacks the markers {begin} and {end}; add them where the table belongs")
    write_atomically(path, f"{before}{begin}\n{text}\n{end}{after}".encode())


def write_json(path: Path, content: Any, indent: int | None = 1) -> None:
    """Write plain data as JSON, atomically, in UTF-8 and with a final line break.

    Args:
        path: the file.
        content: nested dicts, lists, str, numbers, bool and None.
        indent: spaces per level; None for everything in one line, which suits long lists of numbers.

    Raises:
        UserError: the directory is read-only or the disk is full.
    """
    write_atomically(path, (json.dumps(content, indent=indent, ensure_ascii=False) + "\n").encode())


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of ``path`` at the end of the block, and is deleted if the block fails.

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


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes that ask for the same lock, until the block or the process ends.

    No lock file is written. On systems and file systems without such locks the block runs without one.

    Raises:
        UserError: another process holds the lock, or the folder cannot be opened.
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
            raise UserError(f"{folder} is in use: another process works in it; wait until it has finished") from error
        except OSError:
            # Network file systems may refuse.
            pass
        yield
    finally:
        os.close(handle)
