"""Times of clicks as a source writes them: Unix numbers in any unit, or dates in any form."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from recbole_tme.data.readers import engine as sql
from recbole_tme.data.readers.engine import Engine
from recbole_tme.errors import UserError

UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_AT_ONCE = 2**20
# Unix times of the years 1973 to 5138 lie below 1e11 in seconds, above it in milliseconds, and so on.
_UNIT_BOUNDS = ((1e11, "s"), (1e14, "ms"), (1e17, "us"))
# Clicks on the web: what lies outside was misread. Numbers that are all smaller count from a start of their own.
_FIRST, _LAST = (datetime.datetime(year, 1, 1, tzinfo=datetime.timezone.utc).timestamp() for year in (1990, 2100))

_NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_INTEGER = r"[+-]?[0-9]{1,19}"
_ISO = r"[0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}([T ].*)?"
_COMPACT = {14: "%Y%m%d%H%M%S", 12: "%Y%m%d%H%M", 8: "%Y%m%d"}
# Letters for dates, as spreadsheets have them, and what strptime calls them; the longer come first.
_LETTERS = {"YYYY": "%Y", "MM": "%m", "DD": "%d", "hh": "%H", "mm": "%M", "ss": "%S", "AM": "%p"}
_DAY_AND_MONTH = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4})(?:[ T](\d{1,2}):\d{2}(:\d{2})?( [APap][Mm])?)?")


@dataclass(frozen=True)
class Times:
    """How a column's values become numbers that sort as exactly as the source tells them apart.

    Attributes:
        stamp: the SQL expression, BIGINT or DOUBLE.
        per_second: how many of its unit make a second.
        form: what the values are, in words.
    """

    stamp: str
    per_second: int
    form: str


def read_times(
    engine: Engine, column: str, kind: str, unit: str, time_format: str | None, place: Callable[[int], str]
) -> Times:
    """Find out how the times in the table ``clicks`` are written, from all of them.

    Args:
        engine: holds ``clicks``; its rows with ``kept`` count.
        column: the column's name in it.
        kind: the column's type in DuckDB.
        unit: unit of numbers: ``s``, ``ms``, ``us``, ``ns``, or ``auto`` to tell by their size.
        time_format: of dates, as strptime has it (``%d.%m.%Y``) or in letters (``DD.MM.YYYY hh:mm:ss``); None for
            numbers, ISO 8601 dates (without a zone in UTC) and ``YYYYMMDDhhmmss``.
        place: where row ``k`` is, for messages.

    Raises:
        UserError: a value that is missing, no time, not finite, or of an implausible year.
    """
    reader = _Reader(engine, column, kind, place)
    if time_format is not None:
        return reader.by_format(_strptime(time_format))
    if kind in ("DATE", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS") or kind.startswith("TIMESTAMP"):
        return reader.checked(Times(f"epoch_ns({column})", UNITS["ns"], "timestamps"))
    if kind != "VARCHAR" and not re.match(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?$|FLOAT|DOUBLE|DECIMAL", kind):
        raise UserError(f"the time column holds {kind.lower()}; numbers, dates or text are expected")
    return reader.by_content(unit)


def to_seconds(numbers: np.ndarray, per_second: int) -> np.ndarray:
    """Times in seconds, float64 ``[n]``, in the memory of the numbers (int64 or float64), which are gone then."""
    seconds = numbers.view(np.float64)
    for start in range(0, len(numbers), _AT_ONCE):
        part = numbers[start : start + _AT_ONCE]
        if numbers.dtype == np.int64:
            # Nanoseconds since 1970 do not fit into a float64, their whole seconds do.
            seconds[start : start + _AT_ONCE] = (part // per_second).astype(np.float64) + part % per_second / per_second
        else:
            part /= per_second
    return seconds


class _Reader:
    def __init__(self, engine: Engine, column: str, kind: str, place: Callable[[int], str]):
        self.engine, self.column, self.kind, self.place = engine, column, kind, place
        self.text = column if kind == "VARCHAR" else f"CAST({column} AS VARCHAR)"

    def by_content(self, unit: str) -> Times:
        sample = [row[0] for row in self.engine.run(f"SELECT {self.text} FROM clicks WHERE kept LIMIT 100")]
        filled = [value for value in sample if value]
        compact = _compact(filled) if unit == "auto" else None
        if compact is not None:
            return self.by_format(compact, "YYYYMMDDhhmmss"[: len(filled[0])])
        if filled and re.fullmatch(_ISO, filled[0]):
            return self.iso()
        return self.numbers(unit)

    def numbers(self, unit: str) -> Times:
        number = f"TRY_CAST({self.column} AS BIGINT)"
        whole, kind = f"{number} IS NOT NULL", "BIGINT"
        if "INT" not in self.kind:
            # A cast alone rounds 1.5 and takes 1_0. A pattern, which takes longer, is asked only where the number would
            # be written otherwise, such as +1.
            matches = f"regexp_full_match({self.text}, {sql.text(_INTEGER)})"
            whole = f"CASE WHEN CAST({number} AS VARCHAR) = {self.text} THEN true ELSE {whole} AND {matches} END"
        if not self.engine.run(f"SELECT bool_and(coalesce({whole}, false)) FROM clicks WHERE kept")[0][0]:
            kind = "DOUBLE"
            self.refuse(f"NOT regexp_full_match({self.text}, {sql.text(_NUMBER)})")
            self.refuse(f"NOT isfinite(TRY_CAST({self.column} AS DOUBLE))")
        stamp, bounds = f"CAST({self.column} AS {kind})", None
        if unit == "auto":
            bounds = low, high = self._bounds(stamp)
            size = max(abs(low), abs(high))
            unit = next((name for bound, name in _UNIT_BOUNDS if size < bound), "ns")
        return self.checked(Times(stamp, UNITS[unit], f"numbers in {unit}"), bounds)

    def iso(self) -> Times:
        stamp = f"epoch_us(TRY_CAST({self.text} AS TIMESTAMPTZ))"
        # The engine's dates end at microseconds.
        finer = f"TRY_CAST(rpad(regexp_extract({self.text}, '\\.[0-9]{{6}}([0-9]{{1,3}})', 1), 3, '0') AS INTEGER)"
        if self.engine.run(f"SELECT count(*) FROM clicks WHERE kept AND regexp_matches({self.text}, '\\.[0-9]{{7}}')")[
            0
        ][0]:
            stamp, unit = f"({stamp} * 1000 + coalesce({finer}, 0))", "ns"
        else:
            unit = "us"
        self.refuse(f"NOT regexp_full_match({self.text}, {sql.text(_ISO)}) OR {stamp} IS NULL")
        return self.checked(Times(stamp, UNITS[unit], "ISO 8601 dates"))

    def by_format(self, time_format: str, shown: str | None = None) -> Times:
        stamp = f"epoch_us(try_strptime({self.text}, {sql.text(time_format)}))"
        self.refuse(f"{stamp} IS NULL", f"not of the form {time_format!r}")
        return self.checked(Times(stamp, UNITS["us"], f"dates of the form {shown or time_format}"))

    def refuse(self, wrong: str, why: str | None = None) -> None:
        """Raise for the first row where the condition holds or nothing stands."""
        row = self.engine.run(
            f"SELECT rowid, {self.text} FROM clicks WHERE kept AND ({self.column} IS NULL OR coalesce({wrong}, true)) "
            "ORDER BY rowid LIMIT 1"
        )
        if not row:
            return
        number, value = row[0]
        if value is None:
            raise UserError(f"{self.place(number)}: no time given (time is ''); fill it in or remove the row")
        if value.lower().strip("+-") in ("nan", "inf", "infinity"):
            raise UserError(f"{self.place(number)}: time is {value}, a finite number is expected")
        raise UserError(f"{self.place(number)}: time is {value!r}{_advice(value, why)}")

    def _bounds(self, stamp: str) -> tuple:
        return self.engine.run(f"SELECT min({stamp}), max({stamp}) FROM clicks WHERE kept")[0]

    def checked(self, times: Times, bounds: tuple | None = None) -> Times:
        """The times, if their years can be true; ``bounds`` are the first and last stamp, where they are known."""
        if self.kind != "VARCHAR":
            self.refuse("false")
        low, high = bounds or self._bounds(times.stamp)
        if high is None:
            return times
        first, last = low / times.per_second, high / times.per_second
        wrong = high if last >= _LAST else low if first < _FIRST <= last else None
        if wrong is not None:
            row, value = self.engine.run(
                f"SELECT rowid, {self.text} FROM clicks WHERE kept AND {times.stamp} = {wrong} ORDER BY rowid LIMIT 1"
            )[0]
            raise UserError(
                f"{self.place(row)}: time {value} would be in {_year(wrong / times.per_second)}, read as {times.form}; "
                "say how times are written (--time-unit or --time-format), or mend the value"
            )
        counter = last < _FIRST and times.form.startswith("numbers")
        return Times(times.stamp, times.per_second, f"{times.form}{' from a start of their own' if counter else ''}")


def _compact(values: list[str]) -> str | None:
    """The form of numbers that are dates digit by digit, such as 20191001001016."""
    length = len(values[0]) if values else 0
    form = _COMPACT.get(length)
    if form is None or any(len(value) != length or not value.isdigit() for value in values):
        return None
    for value in values:
        try:
            date = datetime.datetime.strptime(value, form)
        except ValueError:
            return None
        if not 1990 <= date.year < 2100:
            return None
    return form


def _strptime(time_format: str) -> str:
    if "%" in time_format:
        return time_format
    form = time_format
    for letters, code in _LETTERS.items():
        form = form.replace(letters, code)
    if "%p" in form:
        form = form.replace("%H", "%I")
    if "%Y" not in form:
        raise UserError(f"time_format={time_format}: no year in it; write it like %d.%m.%Y or DD.MM.YYYY hh:mm:ss")
    return form


def _advice(value: str, why: str | None) -> str:
    if why is not None:
        return f", {why}"
    match = _DAY_AND_MONTH.fullmatch(value)
    if match is None:
        return "; all times must be numbers, or all ISO dates (2014-04-07T10:51:09.277Z), or give --time-format"
    first, mark, second, _, hour, seconds, half = match.groups()
    clock = (
        "" if hour is None else (" %I:%M" if half else " %H:%M") + (":%S" if seconds else "") + (" %p" if half else "")
    )
    forms = [f"{d}{mark}{m}{mark}%Y{clock}" for d, m in (("%d", "%m"), ("%m", "%d"))]
    if int(first) > 12 or int(second) > 12 or mark == ".":
        right = forms[int(second) > 12]
        return f"; give its form: --time-format='{right}'"
    return f"; is day or month first? give its form: --time-format='{forms[0]}' or '{forms[1]}'"


def _year(seconds: float) -> str:
    return f"the year {1970 + int(seconds // 31_556_952)}"
