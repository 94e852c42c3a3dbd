"""Rows of text as a table: for the terminal, for Markdown and for a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

# What a spreadsheet begins a formula with.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
# What Markdown reads as more than itself: HTML, links, code, emphasis at a word's edge, and the borders of cells.
_MARKS = re.compile(r"[|<>`\[\]\\]|\*(?!$)|\b_|_\b")


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their longest cell; the last column is not padded."""
    head, rows = [printable(cell) for cell in head], [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in (head, *rows))


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table whose first ``left`` columns are text and whose others are figures, aligned to the right."""
    rule = "|" + "---|" * left + "---:|" * (len(head) - left)
    first, *others = ("| " + " | ".join(map(escaped, row)) + " |" for row in (head, *rows))
    return "\n".join([first, rule, *others])


def csv_text(head: Sequence[str], rows: Sequence[Sequence]) -> str:
    """Comma-separated values, one line per row."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([map(_guarded, row) for row in (head, *rows)])
    return text.getvalue()


def printable(text: str, kept: str = "") -> str:
    """Text in one line and without what steers a terminal: control characters are spelled out, but for those kept."""
    return "".join(
        sign if sign.isprintable() or sign in kept else sign.encode("unicode_escape").decode() for sign in text
    )


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, in a table's cell or elsewhere.

    Marks inside of a word are left alone, so that ``learning_rate`` stays readable in the source.
    """
    return _MARKS.sub(r"\\\g<0>", printable(text))


def _guarded(cell: object) -> object:
    """A cell that no spreadsheet takes for a formula."""
    if not isinstance(cell, str) or not cell.startswith(FORMULA) or cell == "-":
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
