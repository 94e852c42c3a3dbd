"""What a file is, told by its first bytes and not by its name."""

from __future__ import annotations

import codecs
import pickletools
import re
from pathlib import Path

from recbole_tme.data.compressed import open_bytes
from recbole_tme.data.textfile import reading
from recbole_tme.errors import UserError

PICKLE, PARQUET, FEATHER, JSON, TEXT = "pickle", "parquet", "feather", "json", "text"

# Of a pickle's beginning, which text has not by chance.
_STEPS = 4
_KNOWN = ((b"PAR1", PARQUET), (b"ARROW1", FEATHER), (b"\x80", PICKLE))
# What cannot be read, and what to do about it.
_REFUSED = (
    (b"PK\x03\x04", "a zip file or a spreadsheet (.xlsx, .ods)", "unpack it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet or document of Office", "save the sheet as CSV"),
    (b"FEA1", "a file of Feather's first version", "rewrite it with a current pandas or pyarrow, or as Parquet"),
    (b"SQLite format 3", "an SQLite database", "export the table as CSV"),
    *((magic, "a document", "name a file of clicks or sessions") for magic in (b"%PDF", b"%!PS", b"{\\rtf")),
    (b"\x89HDF", "an HDF5 file", "write the table as Parquet or CSV"),
    (b"\x93NUMPY", "a NumPy array", "write the sessions as text or a click log as CSV"),
    (b"ORC", "an ORC file", "write the table as Parquet or CSV"),
    (b"Obj\x01", "an Avro file", "write the table as Parquet or CSV"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it"),
    (b"Rar!", "a RAR archive", "unpack it"),
    (b"\x89PNG", "an image, not UTF-8 text", "name a file of clicks or sessions"),
)
# Bytes that no text has in its first lines, whatever its encoding, but for UTF-16; ones that separate fields left out.
_NOT_IN_TEXT = re.compile(rb"[\x00\x02-\x06\x0e-\x19\x7f]")
# What pickles without a mark begin with: a list, a dict, a tuple, or something of a module that is then called.
_OLD_PICKLE = re.compile(
    rb"\(*[(\])}]|c[\w.]+\n[\w.]+\n[()q]|c(__builtin__|builtins|copy_reg|copyreg|collections|numpy|pandas)[\w.]*\n\w+\n"
)
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def form_of(path: Path, encoding: str | None = None) -> str:
    """The form of a file, compressed or not: ``PICKLE``, ``PARQUET``, ``FEATHER``, ``JSON`` or ``TEXT``.

    Args:
        path: the file.
        encoding: of its text, where that is known.

    Raises:
        UserError: the file cannot be read, is empty, or is something that holds no log: a spreadsheet, a web page ...
    """
    first = _first_bytes(path)
    if not first:
        raise UserError(f"{path}: the file is empty")
    for magic, form in _KNOWN:
        if first.startswith(magic):
            return form
    if is_old_pickle(first):
        return PICKLE
    what, advice = next(((what, advice) for magic, what, advice in _REFUSED if first.startswith(magic)), (None, None))
    if first[257:262] == b"ustar":
        what, advice = "a tar archive", "unpack it"
    if what is not None:
        raise UserError(f"{path}: {what}; {advice}")
    if encoding is None:
        encoding = encoding_of(path)
        if encoding != "utf-16" and (strange := _NOT_IN_TEXT.search(first)):
            number, byte = first.count(b"\n", 0, strange.start()) + 1, "zero byte"
            if strange[0] != b"\0":
                byte = f"byte 0x{strange[0].hex()}"
            raise UserError(f"{path} line {number}: not a text file (a {byte} in it); name a file of clicks")
    start = first.decode(encoding or "latin-1", errors="replace").lstrip("\ufeff \t\r\n")
    if start[:1] == "<":
        raise UserError(f"{path}: an HTML or XML page, not a log; fetch the file itself, or save the table as CSV")
    return JSON if start[:1] in ("{", "[") else TEXT


def is_old_pickle(first: bytes) -> bool:
    """Whether a file that begins with some bytes is a pickle of protocol 0 or 1, which has no mark of its own.

    It is a program, of which the first steps have to make sense; lines of text soon do not.
    """
    if not _OLD_PICKLE.match(first):
        return False
    steps = 0
    try:
        for _ in pickletools.genops(first):
            steps += 1
    except ValueError as error:
        # These bytes may end within a step.
        return steps >= _STEPS and "unknown" not in str(error)
    return True


def known_encoding(name: str | None) -> str | None:
    """The usual name of an encoding of text, None for None.

    Raises:
        UserError: Python has no such encoding.
    """
    try:
        if name is not None:
            "".encode(name)
        return name and codecs.lookup(name).name
    except (LookupError, ValueError):
        raise UserError(f"encoding={name}: unknown; utf-8, utf-16, latin-1, gbk and Python's others are") from None


def encoding_of(path: Path) -> str | None:
    """The encoding that a file's byte order mark names, or None where it has none.

    Raises:
        UserError: zero bytes tell of UTF-16 without a mark.
    """
    first = _first_bytes(path)
    marked = next((encoding for mark, encoding in _BOMS if first.startswith(mark)), None)
    half = len(first) // 2
    if marked is None and half > 2 and max(first[::2].count(0), first[1::2].count(0)) > half // 2:
        raise UserError(
            f"{path}: zero bytes between the letters; name the encoding (--encoding=utf-16-le or utf-16-be)"
        )
    return marked


def _first_bytes(path: Path) -> bytes:
    with reading(path), open_bytes(path) as file:
        return file.read(512)
