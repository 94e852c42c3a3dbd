"""Delimited text read by Arrow, with errors that name the line.

Arrow reads tens of megabytes in tenths of a second but says little about where a file is wrong. So the file is
read fast, and only when something is wrong is it walked line by line to say where.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import lzma
import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from recbole_tme.data.compressed import compression, open_bytes
from recbole_tme.errors import UserError, first_line
from recbole_tme.utils.hardware import return_freed_memory
from recbole_tme.utils.spelling import first_repeated

TOKEN = pa.dictionary(pa.int32(), pa.string())
TEXT = pa.string()
NUMBER = pa.float64()

_BOM = b"\xef\xbb\xbf"
# Far more than any log has; a file of a hundred kilobytes may have as many commas.
MOST_COLUMNS = 10_000


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a file is read into one clear line.

    Raises:
        UserError: the file is missing, a directory, not readable, not UTF-8, or damaged in its compression.
    """
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8; convert it (iconv -t UTF-8)") from None
    except csv.Error as error:
        raise UserError(f"{path}: a line that is no row of a table ({error})") from None
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError):
        raise UserError(f"{path}: a damaged or incomplete {compression(path)} file; fetch it again") from None
    except OSError as error:
        # What the decompressors say of damage has no number of the system's.
        if error.errno is None and compression(path):
            raise UserError(f"{path}: a damaged or incomplete {compression(path)} file; fetch it again") from None
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines that are not empty, without their ends, with their number in the file (the first is 1)."""
    number = 0
    with reading(path), open_bytes(path) as file:
        for line in file:
            # A carriage return alone also ends a line, here as in Arrow.
            for part in line.splitlines():
                number += 1
                if number == 1:
                    part = part.removeprefix(_BOM)
                if part:
                    yield number, part


def split_fields(line: bytes, delimiter: str, quoting: bool) -> list[str]:
    """Fields of one line.

    Raises:
        UnicodeDecodeError: the line is not UTF-8.
    """
    text = line.decode("utf-8")
    if not quoting:
        return text.split(delimiter)
    return next(csv.reader(io.StringIO(text), delimiter=delimiter), [""])


def read_header(path: Path, delimiter: str = "\t", quoting: bool = False, shown: Path | None = None) -> list[str]:
    """Column names in the first line of a file.

    Args:
        path: the file.
        delimiter: between fields.
        quoting: whether double quotes around a field are syntax, as in CSV, or part of a name.
        shown: how messages name the file, where ``path`` is a copy of it.

    Raises:
        UserError: the file is missing, empty, or its first line is no UTF-8 text.
    """
    first = next(numbered_lines(path), None)
    shown = shown or path
    if first is None:
        raise UserError(f"{shown}: the file is empty; a header line and rows are expected")
    number, line = first
    if number != 1:
        raise UserError(f"{shown} line 1: empty; the header line is expected here")
    if line.lower().startswith(b"sep=") and len(line) < 7:
        raise UserError(f"{shown} line 1: names the separator for Excel; remove the line, the header comes first")
    with reading(shown):
        names = split_fields(line, delimiter, quoting)
    if len(names) > MOST_COLUMNS:
        raise UserError(f"{shown} line 1: {len(names):,} columns; a log has a few, at most {MOST_COLUMNS:,} are read")
    twice = first_repeated(names)
    if twice is not None:
        raise UserError(f"{shown} line 1: column {twice!r} occurs twice")
    return names


def read_columns(path: Path, names: Sequence[str], wanted: dict[str, pa.DataType]) -> pa.Table:
    """Read columns of an atomic file: text with tabs between fields, without quoting, below a header; also compressed.

    Nothing is taken for a missing value: ``NA``, ``null`` and ``NaN`` are names like any other in a column of
    tokens, and an error in a column of numbers. Lines that are quite empty are skipped.

    Args:
        path: the file.
        names: all its columns in order, under the names to use.
        wanted: the columns to read and their types (``TOKEN``, ``TEXT`` or ``NUMBER``). Tokens must not be empty,
            numbers must be finite.

    Returns:
        One row per line; token columns with one dictionary over the whole file.

    Raises:
        UserError: naming the file and line of the first row that is wrong, or a file without rows.
    """
    wrong = "not a table of such columns"
    table = None
    pool = pa.system_memory_pool()
    try:
        with reading(path), open_bytes(path) as file:
            table = pa_csv.read_csv(
                file,
                read_options=pa_csv.ReadOptions(column_names=list(names), skip_rows=1),
                parse_options=pa_csv.ParseOptions(delimiter="\t", quote_char=False, double_quote=False),
                convert_options=pa_csv.ConvertOptions(
                    column_types=wanted,
                    include_columns=list(wanted),
                    strings_can_be_null=False,
                    null_values=[],
                    check_utf8=True,
                ),
                # Arrow's own pool keeps what it was ever given, which is many times the table; malloc gives it back.
                memory_pool=pool,
            )
    except pa.ArrowInvalid as error:
        wrong = first_line(error)
    if table is None or not _is_clean(table, wanted):
        _explain(path, names, wanted)
        raise UserError(f"{path}: {wrong}")
    if table.num_rows == 0:
        raise UserError(f"{path}: a header but no rows; at least one click is needed")
    # What each step leaves behind is as large as what it makes.
    return_freed_memory()
    table = table.unify_dictionaries(pool)
    return_freed_memory()
    return table.combine_chunks(pool)


def row_line(path: Path, row: int) -> int:
    """Number of the line in the file that holds row ``row`` (counted from 0) below the header."""
    return next(itertools.islice(numbered_lines(path), row + 1, None))[0]


def plain_text(strings: pa.StringArray) -> memoryview:
    """All strings one after the other in UTF-8, without a copy: they lie so in memory."""
    ends = np.frombuffer(strings.buffers()[1], dtype=np.int32)[strings.offset : strings.offset + len(strings) + 1]
    text = strings.buffers()[2]
    return memoryview(text)[ends[0] : ends[-1]] if text is not None else memoryview(b"")


def _is_clean(table: pa.Table, wanted: dict[str, pa.DataType]) -> bool:
    for name, kind in wanted.items():
        for chunk in table[name].chunks:
            if kind == TOKEN and pc.index(chunk.dictionary, "").as_py() >= 0:
                return False
            if kind == NUMBER and not pc.all(pc.is_finite(chunk), min_count=0).as_py():
                return False
    return True


def _explain(path: Path, names: Sequence[str], wanted: dict[str, pa.DataType]) -> None:
    """Walk the file and raise for the first line that is wrong."""
    place = {name: names.index(name) for name in wanted}
    for number, line in itertools.islice(numbered_lines(path), 1, None):
        where = f"{path} line {number}"
        try:
            fields = line.decode("utf-8").split("\t")
        except UnicodeDecodeError:
            raise UserError(f"{where}: not UTF-8 text; convert the file (iconv -t UTF-8)") from None
        if len(fields) != len(names):
            raise UserError(f"{where}: {len(fields)} fields where the header has {len(names)}")
        for name, kind in wanted.items():
            value = fields[place[name]]
            if kind == TOKEN and value == "":
                raise UserError(f"{where}: empty {name}; give it an id or remove the line")
            if kind == NUMBER and not _is_number(value):
                raise UserError(f"{where}: {name} is {value!r}, a finite number is expected")


def _is_number(text: str) -> bool:
    try:
        # Python's float also takes digits grouped by underscores, Arrow and RecBole do not.
        return "_" not in text and math.isfinite(float(text))
    except ValueError:
        return False
