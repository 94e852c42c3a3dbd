"""``recbole-tme refit``: a finished run's model, trained once more on everything, for production."""

from __future__ import annotations

import argparse

from recbole_tme.commands import options

TAKES_KEYS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``recbole-tme refit``."""
    parser.description = (
        "Retrain a finished run's model on train + validation + test, for as many epochs as the run chose, with the "
        "clicks on new items that the test leaves out. Its metrics are those of the run. Keys of the machine, such as "
        "--device and --threads, may be set."
    )
    options.add_run(parser)
    options.add_plugin(parser)
    options.add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme refit`` with parsed arguments; ``args.overrides`` are configuration keys.

    Raises:
        UserError: as :func:`recbole_tme.refit`.
    """
    from recbole_tme.experiment.refit import refit

    options.load_plugins(args)
    print(refit(options.run_path(args), args.overrides).path)
    return 0
