"""Tables in LaTeX with booktabs, to be read in with ``\\input``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from recbole_tme.report.sheets import Sheet
from recbole_tme.utils import tabular

ESCAPES = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$"},
    **{"±": r"$\pm$", "−": "$-$", "–": "--", "—": "---", "|": r"\textbar{}", "\n": " "},
}
NOT_IN_A_LABEL = re.compile(r"[^\w:@.-]+")


def escaped(text: str) -> str:
    """Text that LaTeX prints as it is."""
    # A bracket after the \\ that ends a row would be read as the row's spacing.
    text = tabular.printable(text.replace("\n", " "))
    return "".join(ESCAPES.get(character, character) for character in text).replace("[", "{[}").replace("]", "{]}")


def table(sheet: Sheet, label: str, source: str) -> str:
    """A ``table*`` as wide as the text.

    Args:
        sheet: the table.
        label: for ``\\ref``.
        source: what the caption says besides the table's own words.
    """
    columns = "l" * sheet.left + "r" * (len(sheet.head) - sheet.left)
    return "\n".join(
        [
            r"\begin{table*}",
            r"\centering",
            rf"\caption{{{escaped(': '.join([sheet.title, source]))}. {escaped(sheet.note)}}}",
            # No escape is understood in it.
            rf"\label{{{NOT_IN_A_LABEL.sub('-', label)}}}",
            r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            row(sheet.head),
            r"\midrule",
            *map(row, sheet.rows),
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table*}",
        ]
    )


def row(cells: Sequence[str]) -> str:
    return " & ".join(map(escaped, cells)) + r" \\"
