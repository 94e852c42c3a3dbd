"""The same work on several installations: a training step, loading, an evaluation, and the figures of one short run.

    python benchmarks/stacks.py .venv/bin/python .venv-newest/bin/python --data dataset_atomic/tmall --name tmall

Each installation is the interpreter of a virtual environment in which this package runs; the first one is what the
others are compared with. Every turn is a process of its own, in an order that is reversed each time; times are seconds
of user CPU at one thread, medians over the turns. The run is TMEGNN's on the data set that comes with RecBole.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PARTS = {"step": "a training step of TMEGNN, batch 512", "loading": "loading", "evaluation": "an evaluation"}
METRICS = ("mrr@20", "hit@20")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", nargs="*", help="interpreters to compare")
    parser.add_argument("--data", type=Path, default=Path("dataset_atomic/tmall"), help="folder of atomic files")
    parser.add_argument("--name", default="tmall", help="the name its files begin with")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each installation")
    parser.add_argument("--steps", type=int, default=8, help="steps per turn")
    parser.add_argument("--instances", type=int, default=2000, help="test instances that are evaluated")
    parser.add_argument("--epochs", type=int, default=3, help="of the run")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(figures(args) if args.child == "figures" else seconds(args)))
        return
    found = {python: [] for python in args.pythons}
    for turn in range(args.rounds):
        for python in args.pythons if turn % 2 else reversed(args.pythons):
            found[python].append(child(python, "seconds"))
            print(f"turn {turn + 1}: {python} {found[python][-1]}", file=sys.stderr)
    times = {
        python: {part: statistics.median(one[part] for one in all_) for part in PARTS} for python, all_ in found.items()
    }
    print(report(args, times, {python: child(python, "figures") for python in args.pythons}))


def child(python: str, what: str) -> dict:
    """One measurement by an installation in a process of its own."""
    command = [python, __file__, *sys.argv[1:], "--child", what]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{python} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def seconds(args: argparse.Namespace) -> dict:
    """User CPU seconds of each part in this process, the first of each left out."""
    import torch
    from _sides import OurSide
    from step import Batches

    from recbole_tme.data.readers.atomic import read_dataset
    from recbole_tme.data.split import validation_cut
    from recbole_tme.evaluation.ranks import rank_all

    torch.set_num_threads(1)
    found = {}

    def timed(part: str, work, share: int = 1):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        result = work()
        found[part] = (resource.getrusage(resource.RUSAGE_SELF).ru_utime - before) / share
        return result

    with tempfile.TemporaryDirectory() as folder:

        def load():
            data = validation_cut(read_dataset(args.data, args.name), 0.1)
            trainer, loaders = OurSide(data, Path(folder), 512).trainer("TMEGNN", loss_precision="fp32", threads=1)
            return trainer, loaders, next(iter(loaders[0]))

        load()
        trainer, loaders, _ = timed("loading", load)
        rows = list(torch.randperm(512 * (args.steps + 1), generator=torch.Generator().manual_seed(0)).split(512))
        trainer._train_epoch(Batches(loaders[0], rows[:1]), 0)
        timed("step", lambda: trainer._train_epoch(Batches(loaders[0], rows[1:]), 0), args.steps)
        model, dataset = trainer.model.eval(), loaders[2].dataset
        few = type(loaders[2])(trainer.config, dataset.copy(dataset.inter_feat.chosen(range(args.instances))))
        rank_all(model, few, torch.device("cpu"))
        timed("evaluation", lambda: rank_all(model, few, torch.device("cpu")))
    return found


def figures(args: argparse.Namespace) -> dict:
    """What one run comes out with here, in percent, and the versions it ran with."""
    from load import machine

    from recbole_tme.config.load import load_config
    from recbole_tme.experiment.run import run

    with tempfile.TemporaryDirectory() as folder:
        settings = {"epochs": args.epochs, "run_dir": folder, "threads": 1, "show_progress": False, "device": "cpu"}
        settings["loss_precision"] = "fp32"
        test = run(load_config("TMEGNN", "ml100k-sessions", config_dict=settings)).read_metrics()["test"]
    return {metric: 100 * test[metric] for metric in METRICS} | {"machine": machine()}


def report(args: argparse.Namespace, times: dict[str, dict], runs: dict[str, dict]) -> str:
    """Medians, figures and their differences to the first installation as a Markdown table."""
    first = args.pythons[0]
    lines = [
        f"{args.name}: user CPU seconds at one thread, medians of {args.rounds} turns; the evaluation is of "
        f"{args.instances:,} test instances. ml100k-sessions: TMEGNN, {args.epochs} epochs, in percent.",
        "",
        "| | " + " | ".join(f"stack {number + 1}" for number in range(len(args.pythons))) + " | difference |",
        "|---|" + "---:|" * (len(args.pythons) + 1),
    ]
    for part, title in PARTS.items():
        values = [times[python][part] for python in args.pythons]
        change = ", ".join(f"{100 * (value / values[0] - 1):+.1f} %" for value in values[1:])
        lines.append(f"| {title}, s | " + " | ".join(f"{value:.3g}" for value in values) + f" | {change} |")
    for metric in METRICS:
        values = [runs[python][metric] for python in args.pythons]
        change = ", ".join(f"{value - runs[first][metric]:+.3f}" for value in values[1:])
        lines.append(f"| {metric} | " + " | ".join(f"{value:.3f}" for value in values) + f" | {change} |")
    lines += ["", *(f"* stack {number + 1}: {runs[python]['machine']}" for number, python in enumerate(args.pythons))]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
