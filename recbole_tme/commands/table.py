"""Result tables in Markdown, made from run directories or from the ``metrics.json`` files they hold."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``recbole-tme table``."""
    parser.description = (
        "Print the results of runs as Markdown tables, one a data set, in per cent; or write them into a file, or keep "
        "them in a folder of results."
    )
    parser.add_argument("results", nargs="+", type=Path, help="run directories, metrics.json files or folders of them")
    parser.add_argument(
        "--into",
        type=Path,
        help="replace the text between the two comments results: begin and results: end in this file",
    )
    parser.add_argument("--models", help="one small table instead: P@20 and MRR@20 of these models, by commas, on "
                        "each data set, with their best settings by validation")  # fmt: skip
    parser.add_argument("--collect", type=Path, help="copy each run's results, with its settings, into this folder")
    parser.add_argument("--keep-ranks", type=Path, metavar="FOLDER", help="copy the runs without their weights to this "
                        "folder: enough for significance and report")  # fmt: skip
    parser.add_argument("--check-ranks", type=Path, metavar="RESULTS", help="compare the runs' ranks with the "
                        "checksums of collected results; exit code 1 where any differ")  # fmt: skip
    parser.add_argument("--experiments", type=Path, help="write the figures into the experiment files of this folder, "
                        "each into the file with the run's settings")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme table`` with parsed arguments.

    Raises:
        UserError: a path is missing or holds something else.
    """
    from recbole_tme.report.experiments import write_figures
    from recbole_tme.report.kept_ranks import check_ranks, keep_ranks
    from recbole_tme.report.overview import overview
    from recbole_tme.report.tables import collect, insert, markdown, read_results

    if args.check_ranks is not None:
        lines = check_ranks(args.results, read_results([args.check_ranks]))
        print("\n".join(lines))
        return int(not all(line.startswith("same") for line in lines))
    if args.keep_ranks is not None:
        keep_ranks(args.results, args.keep_ranks)
    if args.collect is not None:
        collect(args.results, args.collect)
    results = read_results(args.results)
    text = markdown(results)
    if args.models is not None:
        text = overview(results, [name.strip() for name in args.models.split(",")])
    if args.experiments is not None:
        write_figures(args.experiments, results)
    if args.into is not None:
        insert(args.into, text)
    if args.into is args.collect is args.experiments is args.keep_ranks is None:
        print(text)
    return 0
