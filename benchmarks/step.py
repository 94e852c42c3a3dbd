"""A training step of our models and of RecBole's on the same instances, and what ours is made of.

    python benchmarks/step.py --data dataset_atomic/tmall --name tmall

One process, one thread. Every competitor trains through its own trainer's loop over its own loader's batches, which
hold the same instances on both sides and are as wide in the mean as all of an epoch's. A part is a piece of a step on
its own.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from _sides import PEERS, SIZE, OurSide, StockSide, common_arguments, start, take_turns
from load import machine
from torch import Tensor
from torch.nn import functional as F

from recbole_tme.data.loader import DEFAULT_LENGTH_BUCKET, bucketed_batches
from recbole_tme.experiment.surroundings import deterministic
from recbole_tme.nn.losses import catalogue_cross_entropy

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
OURS = ("SRGNN", "TMEGNN", "DANSeR")
# Models whose loss is measured on its own; DANSeR's is SRGNN's with some items left out.
WITH_PLAIN_LOSS = ("SRGNN", "TMEGNN")


class Batches:
    """A training loader that gives certain instances, made by a loader of either side."""

    def __init__(self, loader, rows: list[Tensor]):
        self.loader, self.rows = loader, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator:
        for rows in self.rows:
            yield self.loader.collate_fn(rows)


def main() -> None:
    args = arguments(__doc__)
    data = start(args)
    with tempfile.TemporaryDirectory() as folder:
        ours = OurSide(data, Path(folder) / "ours", args.batch_size)
        stock = StockSide(data, Path(folder) / "stock", args.batch_size)
        trainers = {(m, p): ours.trainer(m, loss_precision=p) for m in OURS for p in PRECISIONS}
        loader = trainers["SRGNN", "fp32"][1][0]
        rows = typical_rows(loader, args.steps, args.batch_size)
        check_same_instances(Batches(loader, rows), Batches(stock.loaders[0], rows))
        jobs = stock_jobs(stock, rows) | our_jobs(trainers, rows) | parts(ours, trainers, rows)
        seconds = take_turns(jobs, args.rounds)
    seconds = {name: value / args.steps for name, value in seconds.items()}
    print(report(args, seconds, Batches(stock.loaders[0], rows), len(loader), loader))


def arguments(description: str) -> argparse.Namespace:
    """The command line of a benchmark that times steps."""
    parser = common_arguments(description, rounds=3)
    parser.add_argument("--steps", type=int, default=3, help="steps per turn")
    return parser.parse_args()


def typical_rows(loader, n: int, size: int) -> list[Tensor]:
    """Instances of ``n`` of an epoch's batches of some size that stand for all: sorted by width, one of each n-th, of
    mean width."""
    lengths = loader.dataset.inter_feat.prefix_length
    generator = torch.Generator().manual_seed(0)
    batches = bucketed_batches(lengths, size, DEFAULT_LENGTH_BUCKET, generator)
    batches = sorted((b for b in batches if len(b) == size), key=lambda b: int(lengths[b].max()))
    chosen = []
    for i in range(n):
        part = batches[i * len(batches) // n : (i + 1) * len(batches) // n]
        mean = sum(int(lengths[b].max()) for b in part) / len(part)
        chosen.append(min(part, key=lambda b: abs(int(lengths[b].max()) - mean)))
    return chosen


def check_same_instances(ours: Batches, stock: Batches) -> None:
    """Stop if the two loaders do not make the same instances of the same rows."""
    for a, b in zip(ours, stock):
        names = [
            batches.loader.dataset.id2token("item_id", batch["item_id"].numpy())
            for batches, batch in ((ours, a), (stock, b))
        ]
        if names[0].tolist() != names[1].tolist() or not torch.equal(a["item_length"], b["item_length"]):
            raise SystemExit("the sides' batches hold different instances")


def stock_jobs(stock: StockSide, rows: list[Tensor], models: Iterable[str] = PEERS) -> dict[str, Callable[[], None]]:
    """RecBole's models in RecBole's trainer, with anomaly detection as RecBole's import leaves it, and without."""

    def job(trainer, anomaly: bool) -> Callable[[], None]:
        def run() -> None:
            with torch.autograd.set_detect_anomaly(anomaly):
                trainer._train_epoch(Batches(stock.loaders[0], rows), 0)

        return run

    trainers = {name: stock.trainer(name) for name in models}
    return {
        f"RecBole {name}, anomaly {'on' if on else 'off'}": job(t, on)
        for name, t in trainers.items()
        for on in (True, False)
    }


def our_jobs(trainers: dict, rows: list[Tensor]) -> dict[str, Callable[[], None]]:
    """Our models in our trainer."""

    def job(trainer, loader) -> Callable[[], None]:
        def run() -> None:
            # As a run has it.
            with deterministic(trainer.config["reproducibility"]):
                trainer._train_epoch(Batches(loader, rows), 0)

        return run

    return {f"{m} {p}": job(trainer, loaders[0]) for (m, p), (trainer, loaders) in trainers.items()}


def loss_floor(n_sessions: int, table: Tensor, precision: torch.dtype) -> Callable[[], None]:
    """The three bare products of a catalogue loss: scores, gradient of the sessions, gradient of the table."""
    h, w = torch.randn(n_sessions, table.shape[1], device=table.device).to(precision), table.to(precision)
    p = torch.rand(len(h), len(w), device=table.device).to(precision)

    def products() -> None:
        h @ w.T
        p @ w
        p.T @ h

    return products


def parts(ours: OurSide, trainers: dict, rows: list[Tensor]) -> dict[str, Callable[[], None]]:
    """Pieces of a step: as many of each as a turn has steps."""
    model = trainers["SRGNN", "fp32"][0].model
    table = model.item_embedding.weight.detach().clone().requires_grad_()
    sessions = torch.randn(len(rows[0]), SIZE, requires_grad=True)
    target = torch.randint(1, len(table), (len(sessions),))
    jobs = {}

    def repeated(piece: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            with deterministic(True):
                for _ in rows:
                    piece()

        return run

    def loss(name: str, precision: torch.dtype) -> Callable[[], None]:
        top = trainers[name, "fp32"][0].model.n_ranked

        def piece() -> None:
            sessions.grad = table.grad = None
            catalogue_cross_entropy(sessions, table, target, top, precision=precision)[0].backward()

        return piece

    def stock_loss() -> None:
        sessions.grad = table.grad = None
        F.cross_entropy(sessions @ table.T, target).backward()

    for name, precision in PRECISIONS.items():
        jobs[f"floor {name}"] = repeated(loss_floor(len(sessions), table.detach(), precision))
        for m in WITH_PLAIN_LOSS:
            jobs[f"loss of {m} {name}"] = repeated(loss(m, precision))
    jobs["loss of RecBole"] = repeated(stock_loss)
    lossless = {(f"{m} without", "its loss"): without_loss(*ours.trainer(m)) for m in OURS}
    return jobs | our_jobs(lossless, rows)


def without_loss(trainer, loaders):
    """The trainer, its model's scores replaced by something that costs nothing."""
    model = trainer.model

    def recommendation_loss(encoded, target):
        return encoded.session.sum(), torch.randint(1, model.n_items, (len(target), model.n_ranked))

    model.recommendation_loss = recommendation_loss
    return trainer, loaders


def report(args: argparse.Namespace, seconds: dict[str, float], stock: Batches, n_batches: int, loader) -> str:
    """The medians as Markdown tables."""
    stock_widths = {batch["item_id_list"].shape[1] for batch in stock}
    own = [batch["item_id_list"].shape[1] for batch in Batches(loader, stock.rows)]
    lines = [
        f"A training step on {args.name}: batch {args.batch_size}, {SIZE} numbers per item, "
        f"{loader.dataset.item_num - 1:,} items, {n_batches} batches an epoch; CPU seconds at one thread, medians of "
        f"{args.rounds} turns of {args.steps} steps each. Stock RecBole pads to {', '.join(map(str, stock_widths))} "
        f"clicks, ours to {', '.join(map(str, own))}.",
        "",
        "| step | CPU, s | of RecBole's SRGNN, anomaly on | anomaly off | of its floor |",
        "|---|---:|---:|---:|---:|",
    ]
    on, off = (seconds[f"RecBole SRGNN, anomaly {state}"] for state in ("on", "off"))
    is_part = {name: name.startswith(("floor", "loss")) or name.endswith("its loss") for name in seconds}
    for name, value in seconds.items():
        if not is_part[name]:
            floor = seconds[f"floor {'bf16' if name.endswith('bf16') else 'fp32'}"]
            lines.append(f"| {name} | {value:.3g} | 1/{on / value:.2f} | 1/{off / value:.2f} | {value / floor:.2f} |")
    lines += ["", "| part of a step | CPU, s |", "|---|---:|"]
    lines += [f"| {name} | {value:.3g} |" for name, value in seconds.items() if is_part[name]]
    return "\n".join([*lines, "", machine()])


if __name__ == "__main__":
    main()
