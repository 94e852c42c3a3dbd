"""Training over growing catalogues: the full softmax, sampled and scalable cross entropy.

    python benchmarks/large_catalogue.py                       # a slice of an epoch for each
    python benchmarks/large_catalogue.py --items 1000000 --losses sampled --epoch   # all of it

Synthetic clicks with Zipf's popularity. Every measurement is a process of its own, so that its peak memory is its own;
the losses take turns, beside the bare matrix products of the full softmax ("floor"). An epoch's time is extrapolated
from the median step unless ``--epoch`` asks for all of it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
from pathlib import Path

from _plot import growth
from load import machine, memory_mb, run_child

LOSSES = ("full", "sampled", "scalable")
# The bare matrix products of the full softmax, which no implementation of it can do without.
FLOOR = "floor"
FLOOR_ROWS = 128
WARM_UP = 2


def main() -> None:
    args = parse_arguments()
    if args.child:
        print(json.dumps(measure(json.loads(args.child))))
        return
    # One thread unless the environment says otherwise, here and in the children.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows = []
    for n_items in args.items:
        for loss in args.losses:
            steps = args.full_steps if loss in ("full", FLOOR) else args.steps
            job = {"items": n_items, "loss": loss, "steps": None if args.epoch and loss != FLOOR else steps}
            job |= {"model": args.model, "prefixes": args.prefixes, "batch_size": args.batch_size}
            rows.append(job | run_child(__file__, job))
    if args.plot:
        curves = {loss: [(row["items"], row["step"]) for row in rows if row["loss"] == loss] for loss in args.losses}
        growth(args.plot, "items", "seconds per step", curves)
    print(report(args, rows))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--losses", nargs="+", choices=(FLOOR, *LOSSES), default=[FLOOR, *LOSSES])
    parser.add_argument("--model", default="SRGNN")
    parser.add_argument("--prefixes", type=int, default=1_000_000, help="training instances of an epoch, about")
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=50, help="steps to measure")
    parser.add_argument("--full-steps", type=int, default=5, help="steps to measure of the full softmax")
    parser.add_argument("--epoch", action="store_true", help="measure a whole epoch instead")
    parser.add_argument("--plot", type=Path, help="draw the curves into this file, such as .svg (needs matplotlib)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(job: dict) -> dict:
    """Train for ``steps`` batches, or an epoch, in this process."""
    if job["loss"] == FLOOR:
        return measure_floor(job)
    import torch

    from recbole_tme.config.load import load_config
    from recbole_tme.data.dataset import SessionDataset
    from recbole_tme.data.loader import build_loaders
    from recbole_tme.nn.row_optim import RowAdam

    settings = {"loss_type": job["loss"], "train_batch_size": job["batch_size"], "device": "cpu"}
    config = load_config(job["model"], "toy", config_dict=settings)
    datasets = SessionDataset(config, synthetic(job["items"], job["prefixes"])).build()
    loader = build_loaders(config, datasets)[0]
    torch.manual_seed(0)
    model = config.model_class(config, datasets[0]).train()
    adam = torch.optim.Adam if job["loss"] == "full" else RowAdam
    optimizer = adam(model.parameters(), lr=config["learning_rate"], weight_decay=config["weight_decay"])
    seconds = []
    started = time.perf_counter()
    for batch in loader:
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        model.calculate_loss(batch).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - began)
        if len(seconds) == (job["steps"] or math.inf) + WARM_UP:
            break
    whole = time.perf_counter() - started
    step = statistics.median(seconds[WARM_UP:])
    return {
        "step": step,
        "epoch": whole if job["steps"] is None else step * len(loader),
        "measured": len(seconds) if job["steps"] is None else len(seconds) - WARM_UP,
        "peak": memory_mb("VmHWM"),
    }


def measure_floor(job: dict) -> dict:
    """The products of one batch, some rows at a time as the loss forms them, in the precision that it chooses here."""
    import torch
    from step import SIZE, loss_floor

    from recbole_tme.models.base import loss_precision

    precision = loss_precision("auto", torch.device("cpu")) or torch.float32
    products = loss_floor(FLOOR_ROWS, torch.randn(job["items"] + 1, SIZE), precision)
    seconds = []
    for _ in range(job["steps"] + WARM_UP):
        began = time.perf_counter()
        for _ in range(0, job["batch_size"], FLOOR_ROWS):
            products()
        seconds.append(time.perf_counter() - began)
    step = statistics.median(seconds[WARM_UP:])
    epoch = step * job["prefixes"] / job["batch_size"]
    return {"step": step, "epoch": epoch, "measured": job["steps"], "peak": memory_mb("VmHWM")}


def synthetic(n_items: int, n_prefixes: int):
    """Sessions over exactly ``n_items`` items, clicked or not, with about that many training instances."""
    import numpy as np

    from recbole_tme.data.catalogue import catalogue
    from recbole_tme.data.sessions import SessionData
    from recbole_tme.data.synthetic import random_sessions

    mean_length = 6.0
    n_train = round(n_prefixes / (mean_length - 1))
    sessions = random_sessions(n_train + 1000, n_items, mean_length=mean_length)
    train, test = sessions.slice(0, n_train), sessions.slice(n_train, len(sessions))
    return SessionData("synthetic", train=train, test=test, tokens=catalogue(np.arange(1, n_items + 1).astype(str)))


def report(args: argparse.Namespace, rows: list[dict]) -> str:
    """The measurements as a Markdown table."""
    full = {row["items"]: row["step"] for row in rows if row["loss"] == "full"}
    kind = "measured" if args.epoch else "extrapolated"
    lines = [
        f"{args.model}, batch {args.batch_size}, about {args.prefixes:,} prefixes per epoch ({kind}), "
        f"{os.environ['OMP_NUM_THREADS']} thread(s); medians.",
        "",
        "| items | loss_type | steps measured | step, s | of the full softmax's | epoch, min | peak memory, GB |",
        "|---:|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        ratio = f"1/{full[row['items']] / row['step']:.1f}" if row["items"] in full else ""
        lines.append(
            f"| {row['items']:,} | {row['loss']} | {row['measured']} | {row['step']:.3g} | {ratio} | "
            f"{row['epoch'] / 60:.1f} | {row['peak'] / 1000:.2f} |"
        )
    return "\n".join([*lines, "", machine()])


if __name__ == "__main__":
    main()
