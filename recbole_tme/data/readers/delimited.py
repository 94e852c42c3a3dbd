"""Delimited text: its delimiter and header, and the line where something is wrong."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from recbole_tme.data.items import KINDS
from recbole_tme.data.readers import engine as sql
from recbole_tme.data.textfile import numbered_lines, read_header, reading, split_fields
from recbole_tme.errors import UserError
from recbole_tme.utils.spelling import first_repeated

DELIMITERS = ("\t", ",", ";", "|", "::", " ")


@dataclass(frozen=True)
class Delimited:
    """How one file of delimited text is written.

    Attributes:
        delimiter: between fields.
        names: its columns in order.
        header: whether its first line holds the names.
    """

    delimiter: str
    names: tuple[str, ...]
    header: bool

    @property
    def quoting(self) -> bool:
        """Whether double quotes around a field are syntax, as in CSV, or part of a name, as between tabs."""
        return self.delimiter in (",", ";", "|")

    def relation(self, paths: list[Path], guess: bool = False) -> str:
        """What stands behind FROM for files of this form: all columns VARCHAR, or of the types they look like."""
        quote = '"' if self.quoting else ""
        listed = ", ".join(sql.text(re.sub(r"([*?\[])", r"[\1]", str(path))) for path in paths)
        if guess:
            columns = f"auto_detect=true, names=[{', '.join(map(sql.text, self.names))}]"
        else:
            typed = ", ".join(f"{sql.name(name)}: 'VARCHAR'" for name in self.names)
            columns = f"auto_detect=false, columns={{{typed}}}"
        return (
            f"read_csv([{listed}], header=false, skip={int(self.header)}, delim={sql.text(self.delimiter)}, "
            f"quote={sql.text(quote)}, escape={sql.text(quote)}, hive_partitioning=false, {columns})"
        )

    def records(self, path: Path, copy: Path) -> Iterator[tuple[int, list[str]]]:
        """Rows that are not empty, without the header, each with the number of its last line.

        Raises:
            UserError: a line that is not UTF-8, has another number of fields than there are columns, or an open quote.
        """
        for number, line in numbered_lines(copy):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                raise UserError(
                    f"{path} line {number}: not UTF-8 text; name its encoding (--encoding=latin-1, gbk, utf-16, ...)"
                ) from None
        first = self.header
        with open(copy, encoding="utf-8-sig", newline="") as file:
            for number, fields in self._split(path, file):
                if first:
                    first = False
                    continue
                if len(fields) != len(self.names):
                    raise UserError(
                        f"{path} line {number}: {len(fields)} fields where the header has {len(self.names)}"
                    )
                yield number, fields

    def _split(self, path: Path, file) -> Iterator[tuple[int, list[str]]]:
        if not self.quoting:
            for number, line in enumerate(file, start=1):
                if line.strip("\r\n"):
                    yield number, line.rstrip("\r\n").split(self.delimiter)
            return
        reader = csv.reader(file, delimiter=self.delimiter, strict=True)
        try:
            for fields in reader:
                if fields:
                    yield reader.line_num, fields
        except csv.Error as error:
            raise UserError(f"{path} line {reader.line_num}: {error}; mend the line") from None

    def normalise(self, path: Path, copy: Path, target: Path) -> Delimited:
        """Rewrite the rows as plain CSV, where the engine stumbles over mixed ends of lines and the like.

        Raises:
            UserError: naming the line that is wrong.
        """
        with open(target, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows(fields for _, fields in self.records(path, copy))
        return replace(self, delimiter=",", header=False)


def read_layout(
    path: Path, copy: Path, delimiter: str | None, names: tuple[str, ...] | None, fits: Callable[[list[str]], bool]
) -> Delimited:
    """Tell the delimiter and the columns by the first line.

    Args:
        path: the file as messages name it.
        copy: the file, or its plain copy.
        delimiter: None to try the usual ones: the first with which ``fits``, otherwise the one with the most columns.
        names: of a file without header line.
        fits: whether column names hold what is looked for.

    Raises:
        UserError: no delimiter gives as many fields as there are names, or a column occurs twice.
    """
    found, problem = [], None
    for candidate in [delimiter] if delimiter else DELIMITERS:
        quoting = candidate in (",", ";", "|")
        if names is None:
            try:
                columns = [_untyped(name) for name in read_header(copy, candidate, quoting, shown=path)]
            except UserError as error:
                # With the right delimiter it may be well.
                problem = problem or error
                continue
        else:
            _, line = next(numbered_lines(copy), (1, b""))
            with reading(path):
                width = len(split_fields(line, candidate, quoting))
            if width != len(names):
                continue
            columns = list(names)
        form = Delimited(candidate, _named(path, columns), names is None)
        if fits(list(form.names)):
            return form
        found.append(form)
    if problem is not None and not any(len(form.names) > 1 for form in found):
        raise problem
    if not found:
        raise UserError(
            f"{path} line 1: not {len(names)} fields as in columns={','.join(names)}, whatever the delimiter; "
            "correct the list"
        )
    return max(found, key=lambda form: len(form.names))


def _untyped(name: str) -> str:
    head, _, kind = name.rpartition(":")
    return head if head and kind in KINDS else name


def _named(path: Path, columns: list[str]) -> tuple[str, ...]:
    """Columns under names that the engine tells apart: it does not tell capitals from small letters."""
    names = [name.strip() or f"column{k}" for k, name in enumerate(columns)]
    twice = first_repeated([name.lower() for name in names])
    if twice is not None:
        pair = [name for name in names if name.lower() == twice]
        raise UserError(f"{path} line 1: columns {pair[0]!r} and {pair[1]!r} differ by case only; rename one")
    return tuple(names)
