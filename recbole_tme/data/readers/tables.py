"""Files of any form as one table that the engine reads: delimited text, JSON, Parquet or Feather; one file or many."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from recbole_tme.data.readers import engine as sql
from recbole_tme.data.readers.columns import Layout
from recbole_tme.data.readers.delimited import Delimited, read_layout
from recbole_tme.data.readers.engine import Engine, QueryError
from recbole_tme.data.readers.forms import JSON, PARQUET, PICKLE, TEXT, form_of, known_encoding
from recbole_tme.data.readers.unpack import unpack
from recbole_tme.errors import UserError

_NESTED = re.compile(r"^STRUCT\(.*\)\[\]$")


@dataclass
class Table:
    """A table over files.

    Attributes:
        engine: reads it.
        relation: what stands behind FROM; its rows are in the order of the files and of their rows.
        types: DuckDB's type per column name. Columns of text and JSON are all VARCHAR.
        guessed: for text and JSON, the type that each column's first rows look like, for filters.
        place: where row k (from 0) is, for messages.
        mend: called with the engine's complaint: raises a UserError that names the line, or returns a table to try
            instead.
        files: the files, in their order.
        form: what they are.
    """

    engine: Engine
    relation: str
    types: dict[str, str]
    place: Callable[[int], str]
    mend: Callable[[str], Table]
    files: list[Path]
    form: str
    guessed: dict[str, str] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """The files as a message names them."""
        more = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
        return f"{self.files[0]}{more}"


def open_table(
    engine: Engine, files: Sequence[Path], layout: Layout, fits: Callable[[list[str]], bool], typed: bool = False
) -> Table:
    """Make a table of files.

    A folder's name of the form ``key=value`` above a file (a hive partition) is a column of its rows.

    Args:
        engine: reads them.
        files: of one form; text files' headers may differ in the order of the columns.
        layout: how text is written.
        fits: whether column names hold what is looked for, to tell the delimiter by.
        typed: whether ``guessed`` is wanted.

    Raises:
        UserError: naming the file, and the line where there is one.
    """
    encoding = known_encoding(layout.encoding)
    forms = [form_of(path, encoding) for path in files]
    odd = next((k for k, form in enumerate(forms) if form != forms[0]), None)
    if odd is not None:
        raise UserError(f"{files[0]} is {forms[0]} and {files[odd]} is {forms[odd]}; name files of one kind")
    if forms[0] == PICKLE:
        raise UserError(f"{files[0]}: a pickle, not a log; splits in pickles come as a folder or as --train and --test")
    plain = [unpack(path, form, encoding, engine.scratch) for path, form in zip(files, forms)]
    if forms[0] == TEXT:
        return _text(engine, list(files), plain, layout, fits, typed)
    return _records(engine, list(files), plain, JSON if forms[0] == JSON else PARQUET, typed)


def _text(engine, files, plain, layout, fits, typed) -> Table:
    form = read_layout(files[0], plain[0], layout.delimiter, layout.columns, fits)
    forms = [
        form, *(read_layout(f, p, form.delimiter, layout.columns, lambda _: True) for f, p in zip(files[1:], plain[1:]))
    ]  # fmt: skip
    return _text_of(engine, files, plain, forms, typed, normalised=False)


def _text_of(engine, files, plain, forms: list[Delimited], typed, normalised: bool) -> Table:
    order, relation = _union(files, plain, [tuple(form.names) for form in forms], lambda k: forms[k].relation)
    files, plain, forms = ([some[k] for k in order] for some in (files, plain, forms))

    def place(row: int) -> str:
        for path, copy, form in zip(files, plain, forms):
            for line, _ in form.records(path, copy):
                if row == 0:
                    return f"{path} line {line}"
                row -= 1
        raise IndexError(row)

    def mend(complaint: str) -> Table:
        if normalised:
            raise UserError(f"{files[0]}: {complaint}")
        copies = [engine.scratch / f"normalised-{k}.csv" for k in range(len(plain))]
        clean = [form.normalise(path, copy, new) for path, copy, new, form in zip(files, plain, copies, forms)]
        return _text_of(engine, files, copies, clean, typed, normalised=True)

    types = {**dict.fromkeys(forms[0].names, "VARCHAR"), **dict.fromkeys(_partition(files[0]), "VARCHAR")}
    guessed = {}
    if typed:
        try:
            guessed = engine.describe(forms[0].relation([plain[0]], guess=True))
        except QueryError as error:
            return mend(str(error))
    return Table(engine, relation, types, place, mend, files, TEXT, guessed)


def _records(engine, files, plain, form: str, typed: bool) -> Table:
    """A table of JSON, whose values are read as text, or of Parquet."""

    def failing(complaint: str) -> Table:
        # The engine names the copy that it reads.
        for path, copy in zip(files, plain):
            complaint = complaint.replace(str(copy), str(path)).removeprefix("Invalid Input Error: ")
        if form == PARQUET:
            raise UserError(f"{files[0]}: a damaged Parquet file ({complaint})")
        where = complaint if any(str(path) in complaint for path in files) else f"{files[0]}: {complaint}"
        raise UserError(f"{where}; one JSON object a line, or one array of them")

    def read(paths: list[Path], kind: str, columns: str = "") -> str:
        if form == PARQUET:
            return f"read_parquet({_paths(paths)}, hive_partitioning=false)"
        return f"read_json({_paths(paths)}, format='{kind}'{columns})"

    forms = ["array" if form == JSON and _begins_with_bracket(copy) else "newline_delimited" for copy in plain]
    try:
        found = [engine.describe(read([copy], kind)) for copy, kind in zip(plain, forms)]
        kinds = {key: kind for columns in reversed(found) for key, kind in columns.items()}
        kinds = {key: kinds[key] for key in dict.fromkeys(key for columns in found for key in columns)}
        nested = [key for key, kind in kinds.items() if _NESTED.match(kind)]
        inner = _inner(engine, read(plain[:1], forms[0]), nested)
    except QueryError as error:
        failing(str(error))
    as_text = dict.fromkeys(kinds, "VARCHAR")
    if inner:
        as_text[nested[0]] = "STRUCT(" + ", ".join(f"{sql.name(key)} VARCHAR" for key in inner) + ")[]"
    listed = ", ".join(f"{sql.name(key)}: {sql.text(kind)}" for key, kind in as_text.items())

    def select(k: int) -> Callable[[list[Path]], str]:
        return lambda paths: _unnested(read(paths, forms[k], f", columns={{{listed}}}"), nested, inner)

    order, relation = _union(files, plain, forms, select)
    files, plain, forms = ([some[k] for k in order] for some in (files, plain, forms))
    own = {key: kind for key, kind in kinds.items() if not inner or key != nested[0]} | inner
    types = (own if form == PARQUET else dict.fromkeys(own, "VARCHAR")) | dict.fromkeys(_partition(files[0]), "VARCHAR")
    counted = [f"SELECT count(*) FROM {select(k)([copy])}" for k, copy in enumerate(plain)]
    unit = "row" if form == PARQUET else "click" if inner else "record"
    place = _counting(engine, files, counted, unit)
    return Table(engine, relation, types, place, failing, files, form, own if typed and form == JSON else {})


def _union(files, plain, forms, select) -> tuple[list[int], str]:
    """One SELECT per group of files of the same form and partition; the order of the files that it reads them in."""
    groups: dict[tuple, list[int]] = {}
    for k, path in enumerate(files):
        groups.setdefault((forms[k], tuple(_partition(path).items())), []).append(k)
    parts = []
    for (_, partition), members in groups.items():
        extra = "".join(f", {sql.text(value)} AS {sql.name(key)}" for key, value in partition)
        parts.append(f"SELECT *{extra} FROM {select(members[0])([plain[k] for k in members])}")
    return [k for members in groups.values() for k in members], f"({' UNION ALL BY NAME '.join(parts)})"


def _partition(path: Path) -> dict[str, str]:
    pairs = (part.partition("=") for part in path.parts[:-1] if "=" in part)
    return {key: unquote(value) for key, _, value in pairs if key}


def _paths(paths: list[Path]) -> str:
    return "[" + ", ".join(sql.text(_literal(path)) for path in paths) + "]"


def _literal(path: Path) -> str:
    # The engine takes these for patterns of names.
    return re.sub(r"([*?\[])", r"[\1]", str(path))


def _inner(engine: Engine, relation: str, nested: list[str]) -> dict[str, str]:
    """The columns inside the one column that holds lists of records (OTTO's events); none where there is no such."""
    if len(nested) != 1:
        return {}
    return engine.describe(f"(SELECT unnest({sql.name(nested[0])}, max_depth := 2) FROM {relation})")


def _unnested(relation: str, nested: list[str], inner: dict[str, str]) -> str:
    if not inner:
        return relation
    column = sql.name(nested[0])
    return f"(SELECT * EXCLUDE ({column}), unnest({column}, max_depth := 2) FROM {relation})"


def _begins_with_bracket(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


def _counting(engine: Engine, files: list[Path], counts: list[str], unit: str) -> Callable[[int], str]:
    def place(row: int) -> str:
        for path, count in zip(files, counts):
            n = engine.run(count)[0][0]
            if row < n:
                return f"{path} {unit} {row + 1}"
            row -= n
        raise IndexError(row)

    return place
