"""``recbole-tme bundle``: a trained model in one folder to hand on, of plain data with checksums."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_tme.commands import options
from recbole_tme.commands.model_options import add_new_items, say_new_items


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``recbole-tme bundle``."""
    parser.description = (
        "Pack the model of a finished run into a folder of its own, with its items and checksums, to recommend with "
        "elsewhere: without the data set and, for this package's own models, without RecBole."
    )
    options.add_run(parser)
    options.add_plugin(parser)
    add_new_items(parser)
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme bundle`` with parsed arguments.

    Raises:
        UserError: as :func:`write_bundle`.
    """
    from recbole_tme.serving.bundle import write_bundle

    options.load_plugins(args)
    saved = write_bundle(options.run_path(args), args.out, args.new_items)
    say_new_items(saved.new_items, args.new_items)
    size = sum(file.stat().st_size for file in args.out.iterdir())
    print(f"{args.out}: {size / 1e6:.1f} MB; recbole-tme recommend {args.out} uses it")
    return 0
