"""``recbole-tme prepare``: other people's files into the atomic files of a data set."""

from __future__ import annotations

import argparse

from recbole_tme.commands.log_columns import add_column_arguments, add_item_arguments
from recbole_tme.commands.options import add_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``recbole-tme prepare``."""
    parser.description = (
        "Turn a click log (CSV, TSV, JSON, Parquet, Feather; compressed or not; one file or many), plain session "
        "lines, the field's pickled splits or RecBole's *-session files into the atomic files of a data set. Says "
        "what was read, kept and dropped."
    )
    parser.add_argument(
        "source",
        nargs="*",
        help="a file, zip file, folder or pattern, or several files of one log, which is filtered and split",
    )
    parser.add_argument("--name", required=True, help="name of the new data set")
    parser.add_argument("--out", default="dataset_atomic", help="folder for data sets (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace a data set of that name")
    already = parser.add_argument_group("files already split, in place of a source")
    already.add_argument("--train", help="training sessions")
    already.add_argument("--test", help="test sessions")
    already.add_argument("--valid", help="validation sessions, where they are given")
    reading = parser.add_argument_group("reading")
    reading.add_argument("--format", default="auto", help="pickles, presplit, lines or clicks (default: by the file)")
    reading.add_argument("--first-field", help="of session lines: item, or session where its id comes first")
    add_column_arguments(reading)
    reading.add_argument(
        "--drop-repeats",
        nargs="?",
        const="item",
        help="drop clicks on the item of the click before; =exact: only where session, item and time are the same",
    )
    add_item_arguments(parser.add_argument_group("what is known of items"))
    add_output(parser)
    cut = parser.add_argument_group("filters and split of a single log")
    cut.add_argument("--min-support", type=int, help="fewest clicks of an item (default: 5)")
    cut.add_argument("--min-length", type=int, help="fewest clicks of a session (default: 2)")
    cut.add_argument("--max-length", type=int, help="keep the most recent clicks of longer sessions")
    cut.add_argument("--test-ratio", type=float, help="last share of sessions (default: 0.1); 0 for no test")
    cut.add_argument("--test-days", type=float, help="sessions of the last days are test, instead of a share")
    cut.add_argument("--train-fraction", type=float, help="keep the last share of training sessions")


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme prepare`` with parsed arguments and print what was written."""
    from recbole_tme.api.preparing import prepare
    from recbole_tme.commands.next_steps import after_prepare, say_next
    from recbole_tme.utils.terminal import fold

    options = vars(args)
    source = options.pop("source")
    prepared = prepare(source or None, **options)
    for line in str(prepared).splitlines():
        print("\n".join(fold(line, "  ")))
    print(f"written to {prepared.path}", flush=True)
    say_next(after_prepare(prepared.name, args.out))
    return 0
