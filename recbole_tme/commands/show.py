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
    from recbole_tme.commands.next_steps import after_run, continued, say_next
    from recbole_tme.runs.directory import RunDirectory
    from recbole_tme.utils.tabular import printable
    from recbole_tme.utils.terminal import columns

    shown = load_run(args.run)
    print(shown)
    if shown.command:
        # Of a run of somebody else's, too: it is to be read before it is called.
        print("repeat it by")
        for line in continued(printable(shown.command), columns() - 2):
            print(f"  {line}", flush=True)
    say_next(after_run(RunDirectory(shown.path)))
    return 0
