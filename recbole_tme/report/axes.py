"""Scales and ticks of charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

FEWEST_TICKS = 3
STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Scale:
    """Maps figures to positions.

    Attributes:
        low, high: figures at the two ends.
        start, end: positions of the two ends.
        log: whether equal ratios are equally long; figures are then positive.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The position of a figure."""
        low, high, value = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, wanted: int) -> list[float]:
        """About so many round figures within the scale."""
        found = log_ticks(self.low, self.high, wanted) if self.log else []
        # Within a factor of two or three there is hardly a power of ten.
        if len(found) >= FEWEST_TICKS:
            return found
        return linear_ticks(self.low, self.high, wanted)


def scale(values: Sequence[float], start: float, end: float, log: bool = False, zero: bool = False) -> Scale:
    """A scale that holds all values with a little room at both ends.

    Args:
        values: at least one; positive for a log scale.
        start, end: positions of the ends.
        log: see :class:`Scale`.
        zero: whether 0 is the lower end.
    """
    low, high = min(values), max(values)
    if log:
        room = max(1.25, (high / low) ** 0.08)
        return Scale(low / room, high * room, start, end, log=True)
    if zero:
        return Scale(0.0, (high or 1.0) * 1.06, start, end)
    room = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return Scale(low - room, high + room, start, end)


def linear_ticks(low: float, high: float, wanted: int) -> list[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten from ``low`` to ``high``, at most ``wanted``."""
    power = 10 ** math.floor(math.log10((high - low) / wanted))
    step = next(s * power for s in (*STEPS, 20, 50) if len(_multiples(low, high, s * power)) <= wanted)
    # Sums of steps carry rounding that a label would show.
    return [round(value, 12) for value in _multiples(low, high, step)]


def log_ticks(low: float, high: float, wanted: int) -> list[float]:
    """Powers of ten from ``low`` to ``high``, with 2 and 5 or 3 between them where there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        ticks = [digit * 10.0**power for power in powers for digit in digits if low <= digit * 10.0**power <= high]
        if len(ticks) <= wanted:
            break
    return ticks[:: max(1, math.ceil(len(ticks) / wanted))]


def shown(value: float) -> str:
    """A tick's label: ``0.25``, ``1,000``, ``4M``."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:,.6g}M"
    return f"{value:,.6g}".replace("-", "−")


def with_sign(value: float) -> str:
    """A difference with two digits and its sign, a real minus."""
    return f"{value:+.2f}".replace("-", "−")


def _multiples(low: float, high: float, step: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]
