"""Pickles of plain data: lists, tuples, numbers and text. What else a pickle can do is refused before it is done.

A pickle is a program. Python's own reader can be told to call nothing, but not what else a program may cost: a key of a
dictionary that is a tuple of tuples, each written once and used twice, takes 2^n steps to hash; the same a million deep
ends the process; and twelve bytes that number an object by 2^30 take 16 GB.
"""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path
from typing import Any

from recbole_tme.data.compressed import open_bytes
from recbole_tme.data.textfile import reading
from recbole_tme.errors import UserError

# Steps without an argument: None, true, false, the marks and ends of lists and tuples, copies, what is dropped.
_BARE = rb"[N()\]\x85-\x89le\x94ta012]"
# One more byte, two, four or eight.
_SIZED = rb"[Khq\x80].|M..|[Jj].{4}|[G\x95].{8}"
# Up to the end of the line.
_LINES = rb"[ILFSVg][^\n]*\n"
# Text and whole numbers, by how many bytes give the length of what stands behind them.
_LENGTHS = {b"U": 1, b"C": 1, b"\x8a": 1, b"\x8c": 1, b"X": 4, b"T": 4, b"B": 4, b"\x8b": 4, b"\x8d": 8, b"\x8e": 8}
# The usual ones, which are many.
_SHORT = b"|".join(
    re.escape(head + bytes([n]) + rest) + b".{%d}" % n
    for head, rest in ((b"X", bytes(3)), (b"\x8c", b""), (b"U", b""))
    for n in range(1, 25)
)
# Make dictionaries, sets, buffers and other objects; or number an object, by more than is matched above.
_REFUSED = b"}dsu\x8f\x90\x91Rbo\x81\x92\x96\x97\x98rp"
# Numbers of objects that any machine can afford, however small the file.
_FEW = 2**24


class _PlainUnpickler(pickle.Unpickler):
    """Builds lists, tuples, numbers and strings, and nothing that has to be looked up by name."""

    def find_class(self, module: str, name: str) -> Any:
        raise UserError(f"asks for {module}.{name}; a split holds plain lists only, and calling it is refused")

    def persistent_load(self, pid: Any) -> Any:
        raise UserError("asks for an object from outside the file, which is refused")


def load_plain(path: Path) -> Any:
    """Unpickle a file of plain data, gzip or not, without letting it call anything or cost more than its size.

    Raises:
        UserError: the file wants to call something, holds anything but lists, tuples, numbers and text, is cut short,
            or is no pickle.
    """
    try:
        with reading(path), open_bytes(path) as file:
            content = file.read()
        check_steps(content)
        return _PlainUnpickler(io.BytesIO(content)).load()
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith(str(path)) else f"{path}: the pickle {text}") from None
    except Exception as error:
        # A damaged pickle may raise almost anything: the stream is a program that runs astray.
        raise UserError(f"{path}: a damaged or incomplete pickle ({type(error).__name__}); fetch it again") from None


def check_steps(content: bytes) -> None:
    """Refuse a pickle that does more than plain data need, by its steps, of which none is taken.

    Args:
        content: the whole pickle, unpacked.

    Raises:
        UserError: it makes a dictionary, a set or another object, or numbers objects far beyond what it can hold.
    """
    plain, place = _plain_steps(len(content)), 0
    while place < len(content):
        end = plain.match(content, place).end()  # type: ignore[union-attr]
        if end > place:
            place = end
            continue
        step = content[place : place + 1]
        if step in _REFUSED:
            raise UserError("holds more than a list of sessions, or is damaged; write the sessions as text")
        if step not in _LENGTHS:
            # Its end, a cut or a step that there is not, or something asked for by name: the reader stops here, too.
            return
        # Where that is behind the end, the reader says so.
        behind = place + 1 + _LENGTHS[step]
        place = behind + int.from_bytes(content[place + 1 : behind], "little")


def _plain_steps(size: int) -> re.Pattern[bytes]:
    """Matches up to 500 steps that cost no more than their bytes, in a pickle of so many bytes.

    An object's number takes memory for all numbers up to it.
    """
    highest = re.escape(bytes([max(_FEW, size) >> 24]))
    digits = max(len(str(_FEW)), len(str(size))) - 1
    numbered = rb"r(?:.{3}[\x00-%b]|.{0,3}\Z)|p[0-9]{1,%d}\n" % (highest, digits)
    return re.compile(b"(?:%b){0,500}" % b"|".join((_BARE, _SIZED, numbered, _LINES, _SHORT)), re.DOTALL)
