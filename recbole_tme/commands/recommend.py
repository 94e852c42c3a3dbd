"""``recbole-tme recommend``: recommendations for sessions on the command line, in a file or in a stream."""

from __future__ import annotations

import argparse
import io
import itertools
import sys
from contextlib import nullcontext
from pathlib import Path

from tqdm import tqdm

from recbole_tme.errors import UserError
from recbole_tme.models.registry import load_plugin
from recbole_tme.serving.recommend import write_recommendations
from recbole_tme.serving.recommender import Recommender
from recbole_tme.serving.session_files import NamedSession, read_sessions
from recbole_tme.utils.files import replacing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``recbole-tme recommend``."""
    parser.description = (
        "Recommend items for sessions of external item ids, with the model of a finished run or of a bundle. Writes "
        "CSV: session, rank, item, its title where the data set has titles, score, and source: the model, or "
        "popularity for a session without a known item. What had to be skipped is said at the end."
    )
    parser.add_argument("run", type=Path, help="a run directory or a bundle")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--session", help="one session: item ids in click order, separated by spaces")
    given.add_argument("--input", help="a file of sessions, or - for the standard input")
    parser.add_argument(
        "--format",
        choices=("csv", "txt"),
        help="of the input: csv has the columns session and item (or session_id and item_id), a click per row, those "
        "of a session in order and together; txt a session per line (default: csv for a file *.csv, else txt)",
    )
    parser.add_argument("--output", type=Path, help="the file to write (default: the standard output)")
    parser.add_argument("-k", type=int, default=20, help="items per session (default: %(default)s)")
    parser.add_argument("--exclude_seen", action="store_true", help="leave out the items of the session itself")
    parser.add_argument(
        "--index",
        choices=("faiss",),
        help="look the best items up in an index of the item vectors, made once and kept beside the weights, for large "
        "catalogues; it misses a few (default: every item is scored)",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="(default: %(default)s)")
    parser.add_argument("--plugin", action="append", default=[], help="a file that defines the model of a bundle")


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme recommend`` with parsed arguments.

    Raises:
        UserError: the model cannot be loaded, an option is impossible, the input is empty or not well formed, or the
            output cannot be written.
    """
    for plugin in args.plugin:
        load_plugin(plugin)
    recommender = Recommender.load(args.run, args.device, args.index)
    if recommender.index is not None and recommender.index.is_new:
        print(f"note: {recommender.index}", file=sys.stderr)
    # Before the first session is waited for.
    recommender.answers([], args.k)
    if args.session is not None:
        sessions = iter([NamedSession("1", args.session.split())])
    else:
        sessions = read_sessions(args.input, args.format)
    first = next(sessions, None)
    if first is None:
        raise UserError(f"{args.input}: holds no session; give a session per line, or CSV with --format=csv")
    # Silent unless standard error is a terminal.
    shown = tqdm(itertools.chain([first], sessions), unit=" sessions", disable=None if args.input else True)
    with nullcontext() if args.output is None else replacing(args.output) as file:
        text = sys.stdout if file is None else io.TextIOWrapper(file, encoding="utf-8", newline="")
        skipped = write_recommendations(recommender, shown, text, args.k, args.exclude_seen)
        text.flush()
        if file is not None:
            text.detach()
    if skipped:
        print(f"note: {skipped}", file=sys.stderr)
    return 0
