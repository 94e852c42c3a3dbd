"""Evaluation over the whole catalogue by ranks, and by RecBole's evaluator, of the same models.

    python benchmarks/evaluation.py --data dataset_atomic/tmall --name tmall
    python benchmarks/evaluation.py --data dataset_atomic/tmall --instances 5120    # the first ones only

One process, one thread. Both sides start from their loader and end with the same metrics; the models are untrained,
which changes no cost. What is beside them is the time of the scores alone, which neither can do without.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from _sides import SIZE, OurSide, StockSide, common_arguments, start, take_turns
from load import machine
from recbole.data.dataloader import FullSortEvalDataLoader

from recbole_tme.data.loader import SessionEvalLoader
from recbole_tme.evaluation.metrics import evaluate
from recbole_tme.evaluation.ranks import rank_all

MODELS = {"SRGNN": "SRGNN", "recbole:SRGNN": "RecBole's SRGNN"}
MEASURES = {"metrics": ["Hit", "MRR", "NDCG"], "topk": [5, 10, 20]}


def main() -> None:
    parser = common_arguments(__doc__, rounds=3)
    parser.add_argument("--instances", type=int, help="the first instances of the test set; default: all")
    args = parser.parse_args()
    data = start(args)
    with tempfile.TemporaryDirectory() as folder:
        ours = OurSide(data, Path(folder) / "ours", args.batch_size)
        stock = StockSide(data, Path(folder) / "stock", args.batch_size)
        jobs = {}
        for name in MODELS:
            jobs |= evaluations(name, ours, stock, args)
        seconds = take_turns(jobs, args.rounds)
        n = args.instances or len(stock.loaders[2].dataset)
    print(report(args, seconds, n, len(data.tokens) - 1))


def evaluations(name: str, ours: OurSide, stock: StockSide, args: argparse.Namespace) -> dict:
    """A model's evaluation by both sides, and its scores alone."""
    trainer, loaders = ours.trainer(name)
    model, config = trainer.model.eval(), trainer.config
    dataset = loaders[2].dataset
    n = args.instances or len(dataset)
    own = SessionEvalLoader(config, dataset.copy(dataset.inter_feat.narrow(0, n)))
    stock_trainer = stock.trainer("SRGNN", model, **MEASURES)
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
        f"numbers per item; CPU seconds at one thread, medians of {args.rounds} turns.",
        "",
        "| model | ranks (ours) | RecBole's evaluator | ratio | scores alone |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, title in MODELS.items():
        own, stock, scores = (seconds[name, part] for part in ("ours", "stock", "scores"))
        lines.append(f"| {title} | {own:.3g} | {stock:.3g} | 1/{stock / own:.2f} | {scores:.3g} |")
    return "\n".join([*lines, "", machine()])


if __name__ == "__main__":
    main()
