"""Copies of files as the engine reads them: plain text in UTF-8, or Parquet."""

from __future__ import annotations

import codecs
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recbole_tme.data.compressed import compression, most_bytes, open_bytes
from recbole_tme.data.readers.forms import FEATHER, PARQUET, encoding_of
from recbole_tme.data.textfile import reading
from recbole_tme.errors import UserError, first_line

_BLOCK = 1 << 22
_UTF8 = (None, "utf-8", "utf-8-sig")


def unpack(path: Path, form: str, encoding: str | None, scratch: Path) -> Path:
    """The file itself where the engine reads it as it is, otherwise a copy in ``scratch``.

    Compressed files are unpacked here rather than by the engine: each format's checksum tells of a damaged file.

    Args:
        path: the file.
        form: see :func:`~recbole_tme.data.readers.forms.form_of`.
        encoding: of text, by the name that :func:`~recbole_tme.data.readers.forms.known_encoding` has for it; None for
            UTF-8, or what a byte order mark says.
        scratch: a folder for copies.

    Raises:
        UserError: the file is damaged, or its text is not in that encoding.
    """
    copy = scratch / f"{len(list(scratch.iterdir()))}.{form}"
    if form == FEATHER:
        return _feather(path, copy)
    packed = compression(path) is not None
    if form == PARQUET:
        plain = _unpacked(path, copy) if packed else path
        _refuse_bomb(path, plain)
        return plain
    encoding = encoding or encoding_of(path)
    if encoding not in _UTF8:
        return _recoded(path, encoding, copy)
    return _unpacked(path, copy) if packed else path


def _refuse_bomb(path: Path, plain: Path) -> None:
    """Refuse a Parquet file of more rows than it has room for: a value that is written once may fill a billion."""
    try:
        with reading(path):
            rows = pq.read_metadata(plain).num_rows
    except pa.ArrowException as error:
        raise UserError(f"{path}: a damaged Parquet file ({first_line(error)})") from None
    _refuse_rows(path, rows, plain.stat().st_size)


def _refuse_rows(path: Path, rows: int, size: int) -> None:
    if rows > most_bytes(size):
        raise UserError(f"{path}: {rows:,} rows in {size:,} bytes are no log; write it anew if they are")


def _unpacked(path: Path, copy: Path) -> Path:
    with reading(path), open_bytes(path) as source, open(copy, "wb") as target:
        shutil.copyfileobj(source, target, _BLOCK)
    return copy


def _recoded(path: Path, encoding: str, copy: Path) -> Path:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with reading(path), open_bytes(path) as source, open(copy, "wb") as target:
            while block := source.read(_BLOCK):
                target.write(_decoded(decoder, block).encode())
            target.write(_decoded(decoder, b"", final=True).encode())
    except _Undecodable:
        raise UserError(f"{path}: not text in {encoding}; name its encoding (--encoding)") from None
    return copy


class _Undecodable(Exception):
    pass


def _decoded(decoder, block: bytes, final: bool = False) -> str:
    try:
        return decoder.decode(block, final)
    except UnicodeError:
        raise _Undecodable from None


def _feather(path: Path, copy: Path) -> Path:
    try:
        with reading(path), open_bytes(path) as source:
            batches = pa.ipc.open_file(pa.PythonFile(source) if compression(path) else pa.memory_map(str(path)))
            rows = 0
            with pq.ParquetWriter(copy, batches.schema) as target:
                for k in range(batches.num_record_batches):
                    batch = batches.get_batch(k)
                    # Of nothing, or of one value, a batch may have any number.
                    rows += batch.num_rows
                    _refuse_rows(path, rows, path.stat().st_size)
                    target.write_batch(batch)
    # An ArrowException is no ArrowInvalid where a type cannot be written as Parquet.
    except pa.ArrowException as error:
        raise UserError(f"{path}: a damaged Feather file ({first_line(error)})") from None
    return copy
