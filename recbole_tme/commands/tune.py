"""``recbole-tme tune``: search a model's settings on validation, on this machine or on a Ray cluster."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_tme.commands import options
from recbole_tme.tuning import DEFAULT_TRIALS, SCHEDULERS, SEARCHES

TAKES_KEYS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``recbole-tme tune``."""
    parser.usage = "recbole-tme tune [--model=NAME] [options] [--KEY=VALUE ...]"
    parser.description = (
        "Search a model's settings. Every trial trains with settings from the model's search space and is judged by "
        "its validation metric after each epoch; the test set is not used. Leaves a folder with best.yaml, "
        "trials.csv, study.json and plots. A configuration key given as --KEY=VALUE is the same in all trials."
    )
    parser.add_argument("--model", help="default TMEGNN; recbole:NAME for a built-in of RecBole")
    parser.add_argument("--models", help="several, comma-separated, each with the whole budget")
    options.add_dataset(parser)
    options.add_config_files(parser)
    options.add_plugin(parser)
    parser.add_argument("--space", type=Path, help="search space (default: properties/space/<Model>.yaml)")
    parser.add_argument("--search", choices=SEARCHES, default="optuna", help="(default: %(default)s)")
    parser.add_argument("--scheduler", choices=SCHEDULERS, default="asha", help="which trials to stop early (default: "
                        "%(default)s)")  # fmt: skip
    parser.add_argument("--num-samples", type=int, help=f"trials (default: {DEFAULT_TRIALS}, or as many as a budget of "
                        "time allows)")  # fmt: skip
    parser.add_argument("--budget", help="40 (trials), 30m, 2h (time), 2gpuh (GPU hours), or several: 40,2h")
    parser.add_argument("--cpus-per-trial", type=float, help="cores, and threads, of each trial (default: 1)")
    parser.add_argument("--gpus-per-trial", type=float, help="GPUs, or a share of one such as 0.25 (default: 1 where "
                        "the model would train on a GPU, else 0)")  # fmt: skip
    parser.add_argument("--ray-address", help="join a Ray cluster: auto or HOST:PORT (default: this machine alone)")
    parser.add_argument("--resume", nargs="?", const="", metavar="STUDY", help="go on with a study's folder (default: "
                        "the latest of this model and data set)")  # fmt: skip
    parser.add_argument("--final-seeds", type=int, default=0, metavar="N", help="then retrain the best settings on "
                        "train + validation with N seeds, and evaluate each once on test")  # fmt: skip
    options.add_output(parser)
    parser.add_argument("--compare", action="store_true", help="then compare the tuned --models (recbole-tme compare)")


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme tune`` with parsed arguments; ``args.overrides`` are the settings all trials share.

    Returns:
        0, or 1 where a study found nothing because all its trials failed.

    Raises:
        UserError: an option, a setting or the space is wrong, the machine has too little, or no cluster is reached.
    """
    from recbole_tme.api.tuning import TuneOptions, compare_tuned, search_all
    from recbole_tme.commands.next_steps import after_search, say_next

    chosen = TuneOptions(**vars(args))
    studies = search_all(chosen)
    if chosen.compare:
        comparison = compare_tuned(studies, chosen)
        print(comparison, flush=True)
        return 1 if comparison.failures else 0
    found = [study for study in studies if study.best is not None]
    if found:
        say_next(after_search(found[-1].path / "best.yaml"))
    return 0 if len(found) == len(studies) else 1
