"""Evaluation over the whole catalogue by ranks, and by RecBole's evaluator, of the same models.

    python benchmarks/evaluation.py --data dataset_atomic/tmall --name tmall
    python benchmarks/evaluation.py --data dataset_atomic/tmall --instances 5120    # the first ones only
    python benchmarks/evaluation.py --data dataset_atomic/tmall --as-shipped

One process, one thread. Both sides start from their loader and end with the same metrics; the models are untrained,
which changes no cost. What is beside them is the time of the scores alone, which neither can do without.

Each turn of ``--as-shipped`` is a process of its own with the memory settings that a side's users have: our runs keep
the memory they free, RecBole's leave the C library's default.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from _sides import SIZE, OurSide, StockSide, common_arguments, start, take_turns
from load import machine, run_child
from recbole.data.dataloader import FullSortEvalDataLoader

from recbole_tme.data.loader import SessionEvalLoader
from recbole_tme.evaluation.metrics import evaluate
from recbole_tme.evaluation.ranks import rank_all
from recbole_tme.models.builtin.discovery import is_builtin

MODELS = {"SRGNN": "SRGNN", "recbole:SRGNN": "RecBole's SRGNN"}
PARTS = ("ours", "stock", "scores")
MEASURES = {"metrics": ["Hit", "MRR", "NDCG"], "topk": [5, 10, 20]}


def main() -> None:
    parser = common_arguments(__doc__, rounds=3)
    parser.add_argument("--instances", type=int, help="the first instances of the test set; default: all")
    parser.add_argument("--as-shipped", action="store_true", help="each side with the memory settings its users have")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(args, **json.loads(args.child))))
        return
    data = start(args)
    n, n_items = args.instances or len(data.test.instances()[0]), len(data.tokens) - 1
    if args.as_shipped:
        seconds = turns_of_processes(args, n)
    else:
        with tempfile.TemporaryDirectory() as folder:
            ours, stock = both_sides(args, data, Path(folder))
            jobs = {}
            for name in MODELS:
                jobs |= evaluations(name, ours, stock, n)
            seconds = take_turns(jobs, args.rounds)
    print(report(args, seconds, n, n_items))


def both_sides(args: argparse.Namespace, data, folder: Path) -> tuple[OurSide, StockSide]:
    return OurSide(data, folder / "ours", args.batch_size), StockSide(data, folder / "stock", args.batch_size)


def turns_of_processes(args: argparse.Namespace, n: int) -> dict[tuple[str, str], float]:
    """Median CPU seconds of each evaluation, every turn in a process of its own."""
    shared = {"data": str(args.data), "name": args.name, "batch_size": args.batch_size, "instances": n}
    found = {(name, part): [] for name in MODELS for part in PARTS}
    for _ in range(args.rounds):
        for (name, part), seconds in found.items():
            seconds.append(run_child(__file__, shared | {"model": name, "part": part}))
    return {key: statistics.median(seconds) for key, seconds in found.items()}


def measure(args: argparse.Namespace, model: str, part: str, data: str, **settings) -> float:
    """CPU seconds of one evaluation in this process, after one to warm up."""
    vars(args).update(settings, data=Path(data), default_malloc=part == "stock")
    with tempfile.TemporaryDirectory() as folder:
        sides = both_sides(args, start(args), Path(folder))
        evaluation = evaluations(model, *sides, args.instances)[model, part]
        evaluation()
        began = time.process_time()
        evaluation()
        return time.process_time() - began


def evaluations(name: str, ours: OurSide, stock: StockSide, n: int) -> dict[tuple[str, str], Callable[[], None]]:
    """A model's evaluation by both sides, and its scores alone."""
    trainer, loaders = ours.trainer(name)
    model, config = trainer.model.eval(), trainer.config
    dataset = loaders[2].dataset
    own = SessionEvalLoader(config, dataset.copy(dataset.inter_feat.chosen(range(n))))
    # RecBole's model as RecBole makes it; our loader would accelerate it.
    stock_trainer = stock.trainer("SRGNN", None if is_builtin(type(model)) else model, **MEASURES)
    stock_trainer.model.load_state_dict(model.state_dict())
    stock_dataset = stock.loaders[2].dataset
    others = stock_dataset.copy(stock_dataset.inter_feat[torch.arange(n)])
    theirs = FullSortEvalDataLoader(stock_trainer.config, others, None)

    def by_ranks() -> None:
        evaluate(rank_all(model, own, config["device"]), MEASURES["topk"], MEASURES["metrics"])

    def by_recbole() -> None:
        stock_trainer.evaluate(theirs, load_best_model=False)

    @torch.no_grad()
    def scores() -> None:
        for batch, _ in own.ranked_batches():
            model.full_sort_predict(batch)

    return {(name, "ours"): by_ranks, (name, "stock"): by_recbole, (name, "scores"): scores}


def report(args: argparse.Namespace, seconds: dict, n: int, n_items: int) -> str:
    """The medians as a Markdown table."""
    lines = [
        f"Evaluation of {n:,} test instances of {args.name} over {n_items:,} items: batch {args.batch_size}, {SIZE} "
        f"numbers per item; CPU seconds at one thread, medians of {args.rounds} turns"
        + (", each side as its users have it." if args.as_shipped else "."),
        "",
        "| model | ranks (ours) | RecBole's evaluator | ratio | scores alone |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, title in MODELS.items():
        own, stock, scores = (seconds[name, part] for part in PARTS)
        lines.append(f"| {title} | {own:.3g} | {stock:.3g} | 1/{stock / own:.2f} | {scores:.3g} |")
    return "\n".join([*lines, "", machine()])


if __name__ == "__main__":
    main()
