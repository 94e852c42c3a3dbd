"""``recbole-tme diagnose``: how degenerate a run's item vectors are, and how it bears random clicks."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_tme.commands import options
from recbole_tme.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``recbole-tme diagnose``."""
    parser.description = (
        "Measure how degenerate the item embedding tables of finished runs are, and what random clicks cost: behind a "
        "share of the clicks of the test sessions one of any item is inserted, the targets stay. Several runs stand "
        "side by side. Writes diagnosis.json and a plot."
    )
    parser.add_argument("runs", nargs="+", type=Path, help="run directories, or folders of them")
    options.add_plugin(parser)
    options.add_output(parser)
    parser.add_argument("--out", type=Path, help="write one file and one plot of all runs into this folder (default: "
                        "each run's own into its directory)")  # fmt: skip
    parser.add_argument("--format", choices=("png", "svg"), default="png", help="of the plot (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the inserted clicks (default: %(default)s)")
    parser.add_argument("--device", help="cpu, cuda or auto (default: the run's)")
    parser.add_argument("--data_path", help="folder of data sets (default: the run's)")


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme diagnose`` with parsed arguments.

    Raises:
        UserError: an option is impossible, a run cannot be loaded or has no item embedding, or a file not be written.
    """
    from recbole_tme.evaluation.protocol import Protocol
    from recbole_tme.experiment.diagnose import comparison_table, diagnose_run, load_with_vectors, names_of, write
    from recbole_tme.runs.directory import finished_runs
    from recbole_tme.utils.files import writing

    if args.seed < 0:
        raise UserError(f"--seed: must be a whole number of at least 0, not {args.seed}")
    options.load_plugins(args)
    overrides = {key: getattr(args, key) for key in ("device", "data_path") if getattr(args, key) is not None}
    if args.out is not None:
        with writing(args.out):
            args.out.mkdir(parents=True, exist_ok=True)
    directories = finished_runs(options.run_paths(args))
    # All are loaded before the first is measured, which takes minutes: a run that cannot be is refused at once.
    loaded = [load_with_vectors(directory, overrides) for directory in directories]
    names = names_of([one.config for one, _ in loaded])
    found = [
        {"name": name, "run": str(directory.path), "protocol": Protocol.of_run(directory).fingerprint}
        | diagnose_run(one, vectors, args.seed)
        for name, directory, (one, vectors) in zip(names, directories, loaded)
    ]
    print(comparison_table(found))
    if args.out is not None:
        write({args.out: found}, args.format)
    else:
        write({directory.path: [one] for directory, one in zip(directories, found)}, args.format)
    return 0
