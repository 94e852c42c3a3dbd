"""How results look in a notebook."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from recbole_tme.evaluation.summary import shown_name, shown_value

if TYPE_CHECKING:
    import pandas as pd


def percent_columns(history: pd.DataFrame) -> pd.DataFrame:
    """A run's ``history.csv`` in the units of the tables: epochs from 1, validation metrics in per cent."""
    shown = history.copy()
    if len(shown) and not shown["epoch"].min():
        # The first versions counted from 0.
        shown["epoch"] += 1
    for name in history.columns:
        if name.startswith("valid_") and "@" in name:
            shown[name] = shown_value(name[6:], shown[name])
    return shown.rename(columns={name: f"valid {shown_name(name[6:])}" for name in history if "@" in name})


def html_table(frame: pd.DataFrame, caption: str) -> str:
    """A small table with two digits behind the point and a caption, for ``_repr_html_``."""
    table: str = frame.to_html(float_format=lambda value: f"{value:.2f}", border=0)
    return table.replace("<thead>", f"<caption>{escape(caption)}</caption>\n  <thead>", 1)
