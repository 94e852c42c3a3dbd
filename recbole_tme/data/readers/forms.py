"""What a file is, told by its first bytes and not by its name."""

from __future__ import annotations

from pathlib import Path

from recbole_tme.data.textfile import open_bytes, reading
from recbole_tme.errors import UserError

PICKLE, PARQUET, FEATHER, JSON, TEXT = "pickle", "parquet", "feather", "json", "text"

_KNOWN = ((b"PAR1", PARQUET), (b"ARROW1", FEATHER), (b"\x80", PICKLE))
# What cannot be read, and what to do about it.
_REFUSED = (
    (b"PK\x03\x04", "a zip file or a spreadsheet (.xlsx, .ods)", "unpack it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet or document of Office", "save the sheet as CSV"),
    (b"FEA1", "a file of Feather's first version", "rewrite it with a current pandas or pyarrow, or as Parquet"),
    (b"SQLite format 3", "an SQLite database", "export the table as CSV"),
    (b"%PDF", "a PDF", "name a file of clicks or sessions"),
    (b"\x89HDF", "an HDF5 file", "write the table as Parquet or CSV"),
    (b"\x93NUMPY", "a NumPy array", "write the sessions as text or a click log as CSV"),
    (b"ORC", "an ORC file", "write the table as Parquet or CSV"),
    (b"Obj\x01", "an Avro file", "write the table as Parquet or CSV"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it"),
    (b"Rar!", "a RAR archive", "unpack it"),
    (b"\x89PNG", "an image, not UTF-8 text", "name a file of clicks or sessions"),
)
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def form_of(path: Path) -> str:
    """The form of a file, compressed or not: ``PICKLE``, ``PARQUET``, ``FEATHER``, ``JSON`` or ``TEXT``.

    Raises:
        UserError: the file cannot be read, is empty, or is something that holds no log: a spreadsheet, a web page ...
    """
    first = _first_bytes(path)
    if not first:
        raise UserError(f"{path}: the file is empty")
    for magic, form in _KNOWN:
        if first.startswith(magic):
            return form
    for magic, what, advice in _REFUSED:
        if first.startswith(magic):
            raise UserError(f"{path}: {what}; {advice}")
    start = first.decode(encoding_of(path) or "latin-1", errors="replace").lstrip("\ufeff \t\r\n")
    if start[:1] == "<":
        raise UserError(f"{path}: an HTML or XML page, not a log; fetch the file itself, or save the table as CSV")
    return JSON if start[:1] in ("{", "[") else TEXT


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
