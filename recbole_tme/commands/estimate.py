"""``recbole-tme estimate``: the memory and the time of a run before it starts."""

from __future__ import annotations

import argparse

from recbole_tme.commands import options
from recbole_tme.utils import terminal

TAKES_KEYS = True
# As wide as the names before what was found.
INDENT = " " * 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``recbole-tme estimate``."""
    parser.usage = "recbole-tme estimate [--model=NAME] [--dataset=NAME] [--KEY=VALUE ...]"
    parser.description = (
        "Take a few steps of a run and a part of its evaluation, and say from them how much memory and time the whole "
        "will take. Takes what run takes; leaves nothing behind. Other work on the machine makes the time on the clock "
        "longer, but not the CPU time."
    )
    parser.add_argument("--model", help="default TMEGNN; recbole:NAME for a built-in of RecBole")
    options.add_dataset(parser)
    options.add_config_files(parser)
    options.add_plugin(parser)


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme estimate`` with parsed arguments; ``args.overrides`` are configuration keys.

    Raises:
        UserError: as ``run``.
    """
    from recbole_tme.api.estimating import estimate, lines

    options.load_plugins(args)
    found = estimate(args.model, args.dataset, config_files=options.named_files(args), **args.overrides)
    for line in lines(found):
        print("\n".join(terminal.fold(line, INDENT)))
    return 0
