"""Options of the commands that recommend: how a trained model is loaded, and the rules of its lists."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from recbole_tme.commands import options
from recbole_tme.utils import terminal


def add_new_items(parser: argparse._ActionsContainer) -> None:
    """Declare ``--new-items``."""
    parser.add_argument(
        "--new-items",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a table of items, or a file of item vectors: those that the model does not know are recommended by their "
        "content; for models trained with item_content or item_vectors",
    )


def say_new_items(added: int, files: Sequence[Path]) -> None:
    """Say how many items the files have added to a model."""
    if files:
        terminal.note(f"{added:,} new items by their content, from {', '.join(map(str, files))}")


def add_model_options(parser: argparse._ActionsContainer) -> None:
    """Declare how a model is loaded, and the rules."""
    options.add_device(parser)
    options.add_index(parser)
    options.add_plugin(parser)
    add_new_items(parser)
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
