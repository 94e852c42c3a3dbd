"""Files and folders that are written whole or not at all, and locks on them."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from recbole_tme.errors import UserError

# Bytes of a file's name in most file systems.
LONGEST_NAME = 255
# What is being written, hidden beside its place until it is whole; a killed process leaves it behind.
PARTIAL = ".part"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_BLOCK = 1 << 20


def file_sha256(path: Path, progress: Callable[[int], None] = lambda n_bytes: None) -> str:
    """SHA-256 of a file, read in pieces; ``progress`` is called with the number of bytes of each.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            progress(len(block))
    return digest.hexdigest()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn "read-only", "disk full" and the like into one line that names the file.

    Raises:
        UserError: the block raised an ``OSError``, or the path is none.
    """
    if "\0" in str(path):
        raise UserError(f"cannot write {str(path)!r}: a path holds no NUL")
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

    A file that is there keeps its mode, a link keeps leading to the file. What is no regular file (a device, a pipe) is
    written to and never replaced.

    Raises:
        UserError: the directory is read-only or the disk is full.
    """
    path = Path(path)
    with writing(path):
        if _is_stream(path):
            with open(path, "wb") as file:
                yield file
            return
        target = Path(os.path.realpath(path))
        temporary = partial_path(target)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
            with suppress(FileNotFoundError):
                os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _is_stream(path: Path) -> bool:
    """Whether a path leads to something that is there and is no regular file, or to an open one of this process."""
    opened = str(path.absolute()).startswith(("/dev/std", "/dev/fd/", "/proc/"))
    return path.exists() and (opened or not path.is_file())


def partial_path(target: Path) -> Path:
    """A new hidden name beside a file or folder, to be renamed to it once what it holds is whole."""
    return target.with_name(f"{_hidden(target.name)}.{os.getpid()}.{uuid.uuid4().hex[:8]}{PARTIAL}")


def _hidden(name: str) -> str:
    room = LONGEST_NAME - 40
    return "." + name.encode()[:room].decode(errors="ignore")


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes were writing in a folder; to be called by the holder of its lock.

    Args:
        folder: where.
        name: of the file or folder they were writing; None for any.
    """
    start = "." if name is None else f"{_hidden(name)}."
    with suppress(OSError):
        for entry in list(folder.iterdir()):
            if entry.name.startswith(start) and entry.name.endswith(PARTIAL) and not _is_being_written(entry.name):
                is_folder = entry.is_dir() and not entry.is_symlink()
                shutil.rmtree(entry, ignore_errors=True) if is_folder else entry.unlink(missing_ok=True)


def _is_being_written(partial: str) -> bool:
    """Whether the process that a partial file's name tells of is still there."""
    parts = partial.split(".")
    if len(parts) < 4 or not parts[-3].isdecimal():
        return False
    try:
        os.kill(int(parts[-3]), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass
    return True


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A hidden folder that appears as ``target`` at the end of the block, and is deleted if the block fails.

    Raises:
        UserError: there is something of that name, or the place cannot be written to.
    """
    partial = partial_path(target)
    try:
        with writing(target):
            partial.mkdir(parents=True)
        yield partial
        with writing(target):
            # Not everywhere does the system refuse to rename over what is there.
            if target.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
            os.rename(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def put_in_place(partial: Path, target: Path) -> None:
    """Make a finished folder take the place of another, if there is one, and remove that; under the target's lock.

    Whenever the process is killed, the target is the old folder or the new one; where the system cannot exchange two
    names in one step, :func:`recover` or the next holder of the lock brings the old one back.
    """
    if not target.exists():
        os.rename(partial, target)
    elif exchange(partial, target):
        shutil.rmtree(partial, ignore_errors=True)
    else:
        old = _old(target)
        os.rename(target, old)
        os.rename(partial, target)
        shutil.rmtree(old, ignore_errors=True)


def recover(target: Path) -> None:
    """Bring back a folder whose replacement was killed between two renames; does nothing where all is well."""
    try:
        if not target.exists() and _old(target).exists():
            with alone_for(target, wait=True):
                pass
    except (OSError, UserError):
        # Whoever cannot write there cannot mend it, and will say that there is no such folder.
        pass


def _bring_back(target: Path) -> None:
    """Finish a replacement that was killed; under the target's lock."""
    old = _old(target)
    if old.exists() and target.exists():
        shutil.rmtree(old, ignore_errors=True)
    elif old.exists():
        os.rename(old, target)


def _old(target: Path) -> Path:
    return target.with_name(f"{_hidden(target.name)}.old")


def exchange(first: Path, second: Path) -> bool:
    """Exchange the names of two files or folders in one step; False, and nothing done, where that cannot be."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    if renameat2 is None:
        return False
    return renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes that ask for the same lock, until the block or the process ends.

    No lock file is written; what killed processes left half written there is removed. On systems and file systems
    without such locks the block runs without one.

    Raises:
        UserError: another process holds the lock, or the folder cannot be opened.
    """
    try:
        import fcntl  # noqa: F401
    except ImportError:
        yield
        return
    with writing(folder):
        handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, folder, wait=False)
        remove_leftovers(folder)
        yield
    finally:
        os.close(handle)


@contextmanager
def alone_for(path: Path, wait: bool = False) -> Iterator[None]:
    """Lock a name, whether or not there is such a file or folder yet, until the block or the process ends.

    The lock is a hidden file beside it, which is removed at the end; one that a killed process left behind locks
    nothing. What killed processes left half written under that name is removed.

    Args:
        path: the name; its folder is made.
        wait: wait for another process to release the lock, instead of refusing.

    Raises:
        UserError: another process holds the lock, or the folder cannot be written to.
    """
    try:
        import fcntl  # noqa: F401
    except ImportError:
        yield
        return
    lock = path.with_name(f"{_hidden(path.name)}.lock")
    while True:
        with writing(path):
            lock.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(handle, path, wait)
            # Whoever held the lock before may have removed the file since it was opened.
            held = os.path.samestat(os.stat(lock), os.fstat(handle))
        except FileNotFoundError:
            held = False
        except BaseException:
            os.close(handle)
            raise
        if held:
            break
        os.close(handle)
    try:
        remove_leftovers(path.parent, path.name)
        with writing(path):
            _bring_back(path)
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def _lock(handle: int, path: Path, wait: bool) -> None:
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError as error:
        raise UserError(f"{path} is in use: {holder(handle)} works in it; wait until it has finished") from error
    except OSError:
        # Network file systems may refuse.
        pass


def holder(handle: int) -> str:
    """Who holds the lock on an open file, in words: its process and command where the system tells."""
    about = os.fstat(handle)
    place = f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}:{about.st_ino}"
    with suppress(OSError, ValueError):
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if "FLOCK" in words and place in words and "->" not in words:
                process = int(words[words.index(place) - 1])
                command = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
                said = " ".join(os.fsdecode(word) for word in command if word)
                return f"process {process} ({said[:120]})" if said else f"process {process}"
    return "another process"
