"""``recbole-tme prepare``: other people's files into the atomic files of a data set."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_tme.data.checks import audit, render
from recbole_tme.data.prepare import DEFAULT_TEST_RATIO, prepare
from recbole_tme.data.readers.atomic import read_dataset
from recbole_tme.data.sources import FORMATS
from recbole_tme.data.times import UNITS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``recbole-tme prepare``."""
    parser.description = (
        "Turn the field's pickled splits, RecBole's *-session files, plain session lines or a click log into the "
        "atomic files of a data set."
    )
    parser.add_argument("source", nargs="?", help="file, zip file or folder; a single log is filtered and split")
    parser.add_argument("--name", required=True, help="name of the new data set")
    parser.add_argument("--out", default="dataset_atomic", help="folder for data sets (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace a data set of that name")
    already = parser.add_argument_group("files already split, in place of a source")
    already.add_argument("--train", help="training sessions")
    already.add_argument("--test", help="test sessions")
    already.add_argument("--valid", help="validation sessions, where they are given")
    reading_group = parser.add_argument_group("reading")
    reading_group.add_argument("--format", default="auto", help=f"auto, {', '.join(FORMATS)} (default: auto)")
    reading_group.add_argument("--items", help="RecBole .item file with titles")
    reading_group.add_argument("--session", help="session column of a click log (default: session_id)")
    reading_group.add_argument("--user", help="user column instead; needs --session-gap")
    reading_group.add_argument("--session-gap", type=float, help="seconds of pause that begin a new session")
    reading_group.add_argument("--item", default="item_id", help="item column (default: %(default)s)")
    reading_group.add_argument("--time", default="timestamp", help="time column (default: %(default)s)")
    reading_group.add_argument("--time-unit", default="auto", help=f"auto, {', '.join(UNITS)} (default: auto)")
    reading_group.add_argument("--file-order", action="store_true", help="rows are in order of time; no time column")
    reading_group.add_argument("--delimiter", type=_delimiter, help="one character or 'tab' (default: by the header)")
    reading_group.add_argument("--columns", type=_names, help="column names, comma-separated, of a log without header")
    cut = parser.add_argument_group("filters and split of a single log")
    cut.add_argument("--min-support", type=int, help="fewest clicks of an item (default: 5)")
    cut.add_argument("--min-length", type=int, help="fewest clicks of a session (default: 2)")
    cut.add_argument("--max-length", type=int, help="keep the most recent clicks of longer sessions")
    cut.add_argument("--test-ratio", type=float, help=f"last share of sessions (default: {DEFAULT_TEST_RATIO})")
    cut.add_argument("--test-days", type=float, help="sessions of the last days are test, instead of a share")
    cut.add_argument("--train-fraction", type=float, help="keep the last share of training sessions")


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme prepare`` with parsed arguments and print what was written."""
    options = vars(args)
    source, name, out = (options.pop(key) for key in ("source", "name", "out"))
    folder = prepare(source, name, Path(out), overwrite=options.pop("overwrite"), **options)
    data = read_dataset(folder, name)
    print(render(audit(data)))
    print(f"written to {folder}; train with --dataset={name} --data_path={out}")
    return 0


def _delimiter(text: str) -> str:
    return "\t" if text in ("tab", "\\t") else text


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))
