"""Forest plots as tables: a model's name in a column, its interval drawn beside it, and its figures."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from recbole_tme.report.axes import Scale, scale, shown, with_sign
from recbole_tme.report.looks import Look

# An interval this many times as wide as the median one does not decide the scale: the others would be points.
TOO_WIDE = 4.0


@dataclass(frozen=True)
class Row:
    """A model's figure and its interval, NaN-free, with further words such as a p value."""

    look: Look
    value: float
    low: float
    high: float
    words: str = ""


def forest(rows: Sequence[Row], title: str, signed: bool = False, words: str = "") -> str:
    """A row per model.

    Args:
        rows: at least one.
        title: what the figures are.
        signed: whether the figures are differences, with a line at 0; else the line is at the reference's figure.
        words: head of the last column; without it there is none.
    """
    across = _scale(rows, signed)
    lines = [0.0] if signed else [row.value for row in rows if row.look.is_reference]
    rule = "".join(f'<i class="rule" style="left:{across(line):.2f}%"></i>' for line in lines)
    body = "".join(_row(row, across, rule, signed, bool(words)) for row in rows)
    ticks = "".join(f'<span style="left:{across(tick):.2f}%">{shown(tick)}</span>' for tick in across.ticks(4))
    last = f'<th scope="col" class="word">{escape(words)}</th>' if words else ""
    return (
        f'<table class="forest{" signed" * signed}"><thead><tr><th scope="col" class="word">model</th>'
        f'<td></td><th scope="col">{escape(title)}</th>{last}</tr></thead><tbody>{body}</tbody>'
        f'<tbody class="ticks" aria-hidden="true"><tr><td></td><td><div>{ticks}</div></td><td></td>'
        f"{'<td></td>' * bool(words)}</tr></tbody></table>"
    )


def _row(row: Row, across: Scale, rule: str, signed: bool, has_words: bool) -> str:
    left, right = (min(100.0, max(0.0, across(end))) for end in (row.low, row.high))
    # An interval that goes on beyond the plot has an arrow there.
    cut = " from" * (row.low < across.low) + " on" * (row.high > across.high)
    value, low, high = (with_sign(x) if signed else f"{x:.2f}" for x in (row.value, row.low, row.high))
    words = f'<td class="word">{escape(row.words)}</td>' if has_words else ""
    return (
        f'<tr{" class=reference" * row.look.is_reference}><th scope="row" class="word">{row.look.numbered}</th>'
        f'<td class="plot {row.look.kind}" aria-hidden="true"><div>{rule}'
        f'<i class="reach{cut}" style="left:{left:.2f}%;width:{right - left:.2f}%"></i>'
        f'<i class="at" style="left:{across(row.value):.2f}%"></i></div></td>'
        f"<td>{value}<small>{low}{' to ' if signed else '–'}{high}</small></td>{words}</tr>"
    )


def _scale(rows: Sequence[Row], signed: bool) -> Scale:
    most = TOO_WIDE * statistics.median(row.high - row.low for row in rows)
    ends = [end for row in rows if row.high - row.low <= most for end in (row.low, row.high)]
    values = [row.value for row in rows] + ([0.0] if signed else [])
    return scale([*ends, *values], 0, 100)
