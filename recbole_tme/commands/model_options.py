"""Options of the commands that recommend: how a trained model is loaded, and the rules of its lists."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_tme.commands import options


def add_model_options(parser: argparse._ActionsContainer) -> None:
    """Declare how a model is loaded, and the rules."""
    options.add_device(parser)
    options.add_index(parser)
    options.add_plugin(parser)
    parser.add_argument(
        "--rules",
        metavar="FILE",
        help="rules of every list, in YAML or JSON: allow and deny (item ids, @FILE of them, or a query such as "
        "category = 'shoes' and price < 50), boost, pin, max_per, diversity, exclude_seen; or the rules themselves in "
        "braces",
    )
    parser.add_argument(
        "--items", type=Path, metavar="FILE", help="a table of items (CSV, .item, Parquet ...) that rules may ask about"
    )
