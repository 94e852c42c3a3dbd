"""Times of clicks as a source writes them: Unix numbers in any unit, or dates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbole_tme.errors import UserError

UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_DATES = (pa.timestamp("ns"), pa.timestamp("ns", "UTC"))
# Unix times of the years 1973 to 5138 lie below 1e11 in seconds, above it in milliseconds, and so on.
_UNIT_BOUNDS = ((1e11, "s"), (1e14, "ms"), (1e17, "us"))


def to_numbers(values: pa.Array, unit: str, place: Callable[[int], str]) -> tuple[np.ndarray, int]:
    """Times as numbers that sort as exactly as the source tells them apart.

    Args:
        values: ``[n]`` of text (numbers, or ISO 8601 dates, which without a zone are taken for UTC), numbers, dates or
            timestamps.
        unit: unit of numbers: ``s``, ``ms``, ``us``, ``ns``, or ``auto`` to tell by their size.
        place: where row ``k`` is, for messages.

    Returns:
        int64 or float64 ``[n]``, never rounded, and how many of its unit make a second.

    Raises:
        UserError: a value that is missing, no time, or not finite.
    """
    if values.null_count:
        raise UserError(f"{place(pc.index(pc.is_null(values), True).as_py())}: no time given")
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        values = _parse(values, place)
        kind = values.type
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return values.cast(pa.timestamp("ns", getattr(kind, "tz", None))).cast(pa.int64()).to_numpy(), UNITS["ns"]
    if pa.types.is_integer(kind):
        numbers = values.cast(pa.int64()).to_numpy()
    elif pa.types.is_floating(kind):
        numbers = values.cast(pa.float64()).to_numpy()
        wrong = ~np.isfinite(numbers)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise UserError(f"{place(row)}: time is {numbers[row]}, a finite number is expected")
    else:
        raise UserError(f"the time column holds {kind}; numbers, dates or text are expected")
    return numbers, UNITS[_unit_of(numbers) if unit == "auto" else unit]


def to_seconds(numbers: np.ndarray, per_second: int) -> np.ndarray:
    """Times in seconds, float64 ``[n]``, from what :func:`to_numbers` gives."""
    if numbers.dtype != np.int64:
        return numbers / per_second
    # Nanoseconds since 1970 do not fit into a float64, their whole seconds do.
    return numbers // per_second + numbers % per_second / per_second


def _unit_of(numbers: np.ndarray) -> str:
    size = max(abs(float(numbers.min())), abs(float(numbers.max())))
    return next((unit for bound, unit in _UNIT_BOUNDS if size < bound), "ns")


def _parse(texts: pa.Array, place: Callable[[int], str]) -> pa.Array:
    kinds = (pa.int64(), pa.float64(), *_DATES)
    for kind in kinds:
        parsed = _cast(texts, kind)
        if parsed is not None:
            return parsed
    # All values must be of one kind, so the one that parses most of the rows before failing tells what is wrong.
    row = max(_first_failure(texts, kind) for kind in kinds)
    raise UserError(
        f"{place(row)}: time is {texts[row].as_py()!r}; all times must be numbers, or all ISO dates "
        "(2014-04-07T10:51:09.277Z)"
    )


def _cast(texts: pa.Array, kind: pa.DataType) -> pa.Array | None:
    try:
        return texts.cast(kind)
    except pa.ArrowInvalid:
        return None


def _first_failure(texts: pa.Array, kind: pa.DataType) -> int:
    """Row of the first value that is not of a kind, found by halving."""
    good, bad = 0, len(texts)
    while bad - good > 1:
        middle = (good + bad) // 2
        if _cast(texts.slice(good, middle - good), kind) is None:
            bad = middle
        else:
            good = middle
    return good
