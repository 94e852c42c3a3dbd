"""``recbole-tme audit``: the statistics table of a data set, and warnings about ties, duplicates and leaks."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``recbole-tme audit``."""
    parser.description = "Print the statistics of a data set and warnings about ties, duplicates and leaks."
    parser.add_argument("dataset", help="name of a data set, or its folder")
    parser.add_argument("--data_path", default="dataset_atomic", help="folder of data sets (default: %(default)s)")
    parser.add_argument("--offline", action="store_true", help="download nothing")


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme audit`` with parsed arguments."""
    from recbole_tme.data.checks import audit, render
    from recbole_tme.data.locate import locate
    from recbole_tme.data.readers.atomic import read_dataset

    folder = Path(args.dataset)
    if not folder.is_dir():
        folder = locate(args.dataset, args.data_path, args.offline)
    # resolve() so that "." has a name.
    print(render(audit(read_dataset(folder, folder.resolve().name))))
    return 0
