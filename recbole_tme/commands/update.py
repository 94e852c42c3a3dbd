"""``recbole-tme update``: a run's model carried over to a newer log."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from recbole_tme.commands import options
from recbole_tme.commands.log_columns import add_column_arguments, add_item_arguments

TAKES_KEYS = True
NOT_PROMOTED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``recbole-tme update``."""
    parser.usage = "recbole-tme update RUN LOG [LOG ...] [options]"
    parser.description = (
        "Carry a run's model over to the sessions that ended since: items keep their vectors, new ones begin with "
        "those of the items clicked beside them, and an epoch goes over the new sessions and a sample of old ones. "
        "Both models are measured on the latest sessions. Leaves a new run directory and prints its path; where RUN "
        "is a link, it leads there if the new model is promoted. Exit code 1: it is not. Keys of the machine, such as "
        "--device and --threads, may be set."
    )
    options.add_run(parser, "a run directory, a link to one, a folder of runs (its newest), or latest")
    parser.add_argument(
        "log",
        nargs="+",
        help="files, folders or patterns of a click log; sessions that the run's data holds already are skipped",
    )
    options.add_plugin(parser)
    options.add_output(parser)
    how = parser.add_argument_group("update")
    how.add_argument("--epochs", type=int, default=1, help="over new sessions and the sample (default: %(default)s)")
    how.add_argument("--learning-rate", type=float, help="of these epochs (default: the run's)")
    how.add_argument(
        "--replay", type=float, default=0.1, help="old sessions drawn for each new one (default: %(default)s)"
    )
    how.add_argument(
        "--holdout",
        type=float,
        default=0.1,
        help="latest share of the new sessions, to measure both models on; the next update trains on it "
        "(default: %(default)s)",
    )
    how.add_argument(
        "--forget-after",
        type=float,
        metavar="DAYS",
        help="drop older sessions, and items that no other session clicks (default: keep all)",
    )
    how.add_argument("--min-support", type=int, default=1, help="fewest clicks of a new item (default: %(default)s)")
    how.add_argument(
        "--promote",
        default="if-better",
        help="if-better: unless a paired test finds the new model worse; always; never (default: %(default)s)",
    )
    reading = parser.add_argument_group("reading the log (default: as the data set was prepared)")
    add_column_arguments(reading)
    add_item_arguments(reading)


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme update`` with parsed arguments; ``args.overrides`` are configuration keys.

    Raises:
        UserError: as :func:`recbole_tme.update`.
    """
    from recbole_tme.data.prepare import PrepareOptions
    from recbole_tme.runs.lineage import read_lineage
    from recbole_tme.updating.update import UpdateOptions, update

    options.load_plugins(args)
    how = UpdateOptions(
        epochs=args.epochs,
        learning_rate=args.learning_rate,
        replay=args.replay,
        holdout=args.holdout,
        forget_after=args.forget_after,
        min_support=args.min_support,
        promote=args.promote,
    )
    known = {f.name for f in fields(PrepareOptions)} - {f.name for f in fields(UpdateOptions)}
    reading = {name: value for name, value in vars(args).items() if name in known}
    directory = update(options.run_path(args), [Path(log) for log in args.log], reading, how, args.overrides)
    print(directory.path)
    promoted = read_lineage(directory)["promoted"]
    return 0 if promoted or args.promote == "never" else NOT_PROMOTED
