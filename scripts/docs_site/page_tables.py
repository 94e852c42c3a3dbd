"""Tables of a page whose cells are Markdown already."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int | None = None) -> str:
    """A Markdown table.

    Args:
        head: the columns' names.
        rows: Markdown; a vertical bar in a cell is escaped.
        text_columns: how many columns, from the left, hold text; the others hold figures. None: all hold text.
    """
    n = len(head) if text_columns is None else text_columns
    rule = "|" + "---|" * n + "---:|" * (len(head) - n)
    first, *others = ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (head, *rows))
    return "\n".join([first, rule, *others])
