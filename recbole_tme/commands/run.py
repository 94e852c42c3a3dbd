"""``recbole-tme run``: train a model and evaluate it once."""

from __future__ import annotations

import argparse

from recbole_tme.commands import options

TAKES_KEYS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``recbole-tme run``."""
    parser.usage = "recbole-tme run [--model=NAME] [--dataset=NAME] [--KEY=VALUE ...]"
    parser.description = (
        "Train a model, select its epoch on validation, evaluate it once on test and leave a run directory. Any "
        "configuration key can be set as --key=value or --key value; recbole-tme list keys MODEL shows them all."
    )
    parser.add_argument("--model", help="default TMEGNN; recbole:NAME for a built-in of RecBole")
    options.add_dataset(parser)
    options.add_config_files(parser)
    options.add_plugin(parser)
    options.add_output(parser)
    parser.add_argument(
        "--fit",
        choices=("all",),
        help="all: when the epoch is chosen, train once more on train + validation + test, for production",
    )
    parser.add_argument("--ray-address", help="spread the processes of --nproc=N over a Ray cluster (auto or "
                        "HOST:PORT) whose nodes see the same folders")  # fmt: skip
    parser.add_argument("--resume", metavar="RUN", help="continue a run that was interrupted: its directory, a folder "
                        "of runs (the newest), or latest")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme run`` with parsed arguments; ``args.overrides`` are configuration keys.

    Raises:
        UserError: as :func:`recbole_tme.run`.
    """
    from recbole_tme.api.running import Run, train
    from recbole_tme.commands.next_steps import after_run, say_next
    from recbole_tme.utils import terminal

    options.load_plugins(args)
    files = options.named_files(args)
    directory, was_finished = train(
        args.model, args.dataset, files, args.resume, args.overrides, ray_address=args.ray_address
    )
    terminal.say()
    print(Run(directory.path), flush=True)
    if was_finished:
        terminal.note("this run is finished; to train longer:")
        terminal.say(f"  recbole-tme run --config_files={directory.config_file} --epochs=N")
    if args.fit:
        from recbole_tme.experiment.refit import refit

        terminal.say()
        directory = refit(directory.path)
        print(f"trained on everything: {directory.path}", flush=True)
    say_next(after_run(directory))
    return 0
