"""A step, an epoch and an evaluation of our models and of RecBole's SRGNN in RecBole's trainer, on one device."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from _part import Part, tf32
from _sides import SIZE, OurSide, StockSide, take_turns
from recbole.data.dataloader import FullSortEvalDataLoader
from step import OURS, PRECISIONS, Batches, check_same_instances, loss_floor, our_jobs, stock_jobs, typical_rows

from recbole_tme.data.sessions import SessionData
from recbole_tme.errors import UserError
from recbole_tme.evaluation.metrics import evaluate
from recbole_tme.evaluation.ranks import rank_all
from recbole_tme.utils.hardware import keep_freed_memory

MEASURES = {"metrics": ["Hit", "MRR", "NDCG"], "topk": [5, 10, 20]}
# RecBole's SRGNN as its users have it; with TF32 it may use the same hardware as ours in bfloat16.
PEER = "RecBole SRGNN, anomaly on"
PEER_EVALUATION = "RecBole SRGNN, its evaluator"


def main() -> None:
    part = Part()
    keep_freed_memory()
    batch, n_steps, rounds = (64, 2, 1) if part.toy else (512, 10, 3)
    data = part.data()
    with tempfile.TemporaryDirectory() as folder:
        ours = OurSide(data, Path(folder) / "ours", batch, part.device)
        stock = peer(part, data, Path(folder) / "stock", batch)
        trainers = {(model, p): ours.trainer(model, loss_precision=p) for model in OURS for p in PRECISIONS}
        loader = trainers["SRGNN", "fp32"][1][0]
        rows = typical_rows(loader, n_steps, batch)
        table = trainers["SRGNN", "fp32"][0].model.item_embedding.weight.detach()
        jobs: dict[str, Callable[[], object]] = {}
        if stock is not None:
            check_same_instances(Batches(loader, rows[:1]), Batches(stock.loaders[0], rows[:1]))
        for on in (False, True) if part.device.type == "cuda" else (False,):
            for name, job in {} if stock is None else stock_jobs(stock, rows, ("SRGNN",)).items():
                jobs[name + (", TF32" if on else "")] = with_tf32(job, on)
        jobs |= our_jobs(trainers, rows)
        for name, precision in PRECISIONS.items():
            jobs[f"floor {name}"] = repeated(loss_floor(batch, table, precision), n_steps)
        seconds = {name: s / n_steps for name, s in take_turns(jobs, rounds, lambda: now(part)).items()}
        steps(part, seconds, len(loader), f"batch {batch}, {SIZE} numbers per item, {len(table) - 1:,} items")
        epochs(part, ours, None if stock is None else seconds[PEER] * len(loader))
        evaluations(part, ours, stock)
    part.text += [part.machine()]
    part.save()


def peer(part: Part, data: SessionData, folder: Path, batch: int) -> StockSide | None:
    """RecBole's side; None where its data set does not load, so that ours is measured all the same."""
    try:
        return StockSide(data, folder, batch, part.device)
    except UserError as error:
        part.text += [f"Without RecBole's side: {error}.", ""]
        return None


def ratio(peer: float | None, own: float) -> str:
    return "" if peer is None else f"1/{peer / own:.1f}"


def now(part: Part) -> float:
    """Seconds on a clock that counts what the device was given before: on a CPU, the processor's own."""
    part.wait()
    return time.perf_counter() if part.device.type == "cuda" else time.process_time()


def repeated(work: Callable[[], None], times: int) -> Callable[[], None]:
    return lambda: [work() for _ in range(times)] and None


def with_tf32(job: Callable[[], None], on: bool) -> Callable[[], None]:
    def work() -> None:
        tf32(on)
        try:
            job()
        finally:
            tf32(False)

    return work


def steps(part: Part, seconds: dict[str, float], n_batches: int, about: str) -> None:
    part.figures["steps"] = seconds
    part.text += [f"A training step: {about}, {n_batches} batches an epoch.", ""]
    part.text += ["| step | ms | of RecBole's SRGNN | of its floor |", "|---|---:|---:|---:|"]
    for name, value in seconds.items():
        floor = seconds[f"floor {'bf16' if name.endswith('bf16') else 'fp32'}"]
        part.text.append(f"| {name} | {1000 * value:.3f} | {ratio(seconds.get(PEER), value)} | {value / floor:.2f} |")
    part.text.append("")
    part.save()


def epochs(part: Part, ours: OurSide, stock_epoch: float | None) -> None:
    """A whole epoch of each of ours with its default settings; RecBole's is as many of its steps."""
    part.figures["epochs"] = {"RecBole SRGNN": stock_epoch}
    part.text += ["| epoch | s | of RecBole's SRGNN |", "|---|---:|---:|"]
    if stock_epoch is not None:
        part.text.append(f"| RecBole SRGNN | {stock_epoch:.1f} | |")
    for model in OURS:
        trainer, loaders = ours.trainer(model)
        if part.left < 20 and not part.toy:
            break
        trainer._train_epoch(Batches(loaders[0], typical_rows(loaders[0], 2, loaders[0].step)), 0)
        began = now(part)
        trainer._train_epoch(loaders[0], 0)
        value = part.figures["epochs"][model] = now(part) - began
        part.text.append(f"| {model} | {value:.2f} | {ratio(stock_epoch, value)} |")
        part.save()
    part.text.append("")


def evaluations(part: Part, ours: OurSide, stock: StockSide | None) -> None:
    """The test set by our ranks and by RecBole's evaluator; both models are untrained, which changes no cost."""
    part.text += ["| evaluation of the test set | s |", "|---|---:|"]
    trainer, loaders = ours.trainer("SRGNN")
    n = len(loaders[2].dataset)
    few = min(n, 200 if part.toy else 5120)
    jobs: dict[str, Callable[[], object]] = {
        "SRGNN, ranks": lambda: evaluate(
            rank_all(trainer.model, loaders[2], part.device), MEASURES["topk"], MEASURES["metrics"]
        ),
    }
    if stock is not None:
        stock_trainer = stock.trainer("SRGNN", **MEASURES)
        dataset = stock.loaders[2].dataset
        theirs = FullSortEvalDataLoader(stock_trainer.config, dataset.copy(dataset.inter_feat[torch.arange(few)]), None)
        jobs[PEER_EVALUATION] = lambda: stock_trainer.evaluate(theirs, load_best_model=False)
    found = take_turns(jobs, 1, lambda: now(part))
    if PEER_EVALUATION in found:
        found[PEER_EVALUATION] *= n / few
    part.figures["evaluations"] = found
    part.text += [f"| {name} | {value:.3f} |" for name, value in found.items()]
    part.text += ["", f"{n:,} instances; RecBole's from {few:,} of them.", ""]
    part.save()


if __name__ == "__main__":
    main()
