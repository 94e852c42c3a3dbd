"""``recbole-tme show``: what a run found, and with which settings."""

from __future__ import annotations

import argparse

from recbole_tme.commands import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``recbole-tme show``."""
    parser.description = "Print the results of a finished run, the command that repeats it, and what can be done next."
    options.add_run(parser)


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme show`` with parsed arguments.

    Raises:
        UserError: there is no finished run.
    """
    from recbole_tme.api.running import load_run
    from recbole_tme.utils.tabular import printable

    shown = load_run(args.run)
    print(shown)
    if shown.command:
        # Of a run of somebody else's, too: it is to be read before it is called.
        print(f"repeat:    {printable(shown.command)}")
    print(f"recommend: recbole-tme recommend {shown.path} --session='ITEM ITEM'")
    print(f"try it:    recbole-tme serve {shown.path}")
    return 0
