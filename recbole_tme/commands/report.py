"""``recbole-tme report``: finished runs compared, as tables for papers and as one page to read."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from recbole_tme.commands import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``recbole-tme report``."""
    parser.description = (
        "Compare finished runs: comparison.csv, .md, .tex and one self-contained report.html. Runs of several data "
        "sets get a section each; runs of one data set must share their protocol."
    )
    parser.add_argument("runs", nargs="+", type=Path, help="run directories, or folders of them")
    parser.add_argument("--out", type=Path, default=Path("report"), help="folder to write to (default: %(default)s)")
    parser.add_argument("--reference", help="what the others are compared with: a model's name, or one of its run "
                        "directories (default: the best model)")  # fmt: skip
    parser.add_argument("--title", help="of the page (default: the data sets)")


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme report`` with parsed arguments.

    Raises:
        UserError: the runs cannot be compared, or the folder cannot be written to.
    """
    from recbole_tme.report.comparison import ranking, write_report, written_to

    words = ["recbole-tme", "report", *map(str, args.runs)]
    if args.reference:
        words.append(f"--reference={args.reference}")
    runs = options.run_paths(args)
    sections = write_report(
        runs, args.out, reference=args.reference, plan={"command": shlex.join(words)}, title=args.title
    )
    print(f"{ranking(sections)}\n\n{written_to(args.out)}")
    return 0
