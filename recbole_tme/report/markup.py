"""Tables, charts and words of the page as HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from recbole_tme.report.figures import Figure
from recbole_tme.report.looks import Look, Looks
from recbole_tme.report.sheets import Sheet

# Cells longer than this may break; figures never do.
LONG_CELL = 60
# An interval stands below its figure: half as wide.
INTERVAL = re.compile(r"^([\d.]+) \(([\d.]+) \.\. ([\d.]+)\)$")
BELOW = r"\1<small>\2–\3</small>"


def figures_block(drawn: Sequence[Figure], looks: Looks) -> str:
    """Charts side by side where there is room, each with its key."""
    if not drawn:
        return ""
    blocks = []
    for figure in drawn:
        table = f"\n<details><summary>As a table</summary>{table_block(figure.table)}</details>" if figure.table else ""
        blocks.append(
            f'<figure class="chart"><figcaption>{escape(figure.caption)}.</figcaption>\n{figure.svg}'
            f"{key([looks[name] for name in figure.names], figure.on)}{table}</figure>"
        )
    return f'<div class="figures">\n{chr(10).join(blocks)}\n</div>\n'


def key(looks: Sequence[Look], on: Sequence[str]) -> str:
    """Which colour and number is which model; those not ``on`` are not seen at first, and a script offers them."""
    entries = "".join(
        f'<li data-model="{escape(look.name)}"{"" if look.name in on else " class=off"}>{look.numbered}</li>'
        for look in looks
    )
    every = len(on) == len(looks)
    return f'<ul class="key{" fixed" * every}">{entries}</ul>'


def table_with_note(sheet: Sheet, looks: Looks, folded: bool = False) -> str:
    """A table with its note."""
    block = table_block(sheet, looks) + note(sheet.note)
    return f"<details><summary>As a table, with intervals</summary>{block}</details>" if folded else block


def table_block(sheet: Sheet, looks: Looks | None = None) -> str:
    """A table that scrolls sideways on its own; models' names have their colours."""
    head = "".join(f'<th scope="col"{word(i < sheet.left)}>{escape(name)}</th>' for i, name in enumerate(sheet.head))
    name_column = sheet.head.index("model") if "model" in sheet.head else 0
    rows = [_row(cells, sheet.left, name_column, looks or {}) for cells in sheet.rows]
    return scrolling(
        f"<table data-title={quoted(sheet.title)}><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>",
        sheet.title,
    )


def _row(cells: Sequence[str], left: int, name_column: int, looks: Looks) -> str:
    look = looks.get(cells[name_column])
    marked = " class=reference" if look and look.is_reference else ""
    return f"<tr{marked}>{''.join(_cells(cells, left, name_column, look))}</tr>"


def _cells(cells: Sequence[str], left: int, name_column: int, look: Look | None) -> Iterable[str]:
    for i, cell in enumerate(cells):
        if i == name_column:
            yield f'<th scope="row"{word(i < left)}>{look.chip if look else escape(cell)}</th>'
        elif len(cell) > LONG_CELL:
            yield f'<td class="long">{escape(cell)}</td>'
        else:
            yield f"<td{word(i < left)}>{INTERVAL.sub(BELOW, escape(cell))}</td>"


def scrolling(table: str, title: str) -> str:
    """A table in a box of its own that the keyboard can scroll."""
    return f'<div class="scroll" tabindex="0" role="group" aria-label={quoted(title)}>{table}</div>'


def note(text: str) -> str:
    """Small print, as a sentence."""
    return f'\n<p class="note">{escape(text)}.</p>' if text else ""


def word(is_word: bool) -> str:
    return ' class="word"' if is_word else ""


def quoted(text: str) -> str:
    return f'"{escape(text)}"'


def code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
