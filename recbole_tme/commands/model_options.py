"""Options of the commands that recommend: how a trained model is loaded, and the rules of its lists."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_model_options(parser: argparse._ActionsContainer) -> None:
    """Declare how a model is loaded, and the rules."""
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="(default: %(default)s)")
    parser.add_argument(
        "--index",
        choices=("faiss",),
        help="look the best items up in an index of the item vectors, made once and kept beside the weights, for large "
        "catalogues; it misses a few (default: every item is scored, and always with rules)",
    )
    parser.add_argument("--plugin", action="append", default=[], help="a file that defines the model of a bundle")
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
