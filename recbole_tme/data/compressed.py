"""Compressed files, opened as what they hold, and never more of it than a log can be."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from pathlib import Path
from typing import IO, BinaryIO, cast

import pyarrow as pa

from recbole_tme.errors import UserError

# First bytes of compressed files, and what opens them.
_COMPRESSED = {
    b"\x1f\x8b": ("gzip", gzip.open),
    b"BZh": ("bzip2", bz2.open),
    b"\xfd7zXZ\x00": ("xz", lzma.open),
    b"\x28\xb5\x2f\xfd": ("zstd", lambda path, mode: io.BufferedReader(pa.CompressedInputStream(str(path), "zstd"))),
}
# Text is packed ten to thirty times smaller; what is packed far smaller is made to fill a disk.
MOST_TIMES, HARMLESS_BYTES = 100, 10**8


def compression(path: Path) -> str | None:
    """The compression a file begins with, whatever it is called: gzip, bzip2, xz, zstd or None."""
    return (_opener(path) or (None,))[0]


def open_bytes(path: Path) -> BinaryIO:
    """Open a plain or compressed file for reading bytes.

    Reading raises a ``UserError`` once a compressed file turns out to hold more than :func:`most_bytes`.
    """
    opener = _opener(path)
    if opener is None:
        return open(path, "rb")
    return cast(BinaryIO, io.BufferedReader(_Bounded(path, opener[1](path, "rb")), 1 << 16))


def most_bytes(packed: int) -> int:
    """How much a packed file of so many bytes may hold."""
    return max(HARMLESS_BYTES, MOST_TIMES * packed)


def _opener(path: Path):
    with open(path, "rb") as file:
        first = file.read(8)
    return next((opener for magic, opener in _COMPRESSED.items() if first.startswith(magic)), None)


class _Bounded(io.RawIOBase):
    """An unpacking stream that refuses to go on where no honest file would."""

    def __init__(self, path: Path, unpacking: IO[bytes]):
        self._path, self._unpacking, self._place = path, unpacking, 0
        self._packed = path.stat().st_size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._unpacking.seekable()

    def readinto(self, target) -> int:
        part = self._unpacking.read(len(target))
        target[: len(part)] = part
        self._place += len(part)
        most = most_bytes(self._packed)
        if self._place > most:
            raise UserError(
                f"{self._path}: {self._packed:,} bytes that unpack to more than {most:,} are no log; unpack it "
                "yourself if it is"
            )
        return len(part)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = self._unpacking.seek(offset, whence)
        return self._place

    def tell(self) -> int:
        return self._place

    def close(self) -> None:
        self._unpacking.close()
        super().close()
