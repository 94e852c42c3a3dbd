"""Training steps shared among processes of this machine: what each computes, and what it sends the others.

    python benchmarks/processes.py --items 1000000 --processes 1 2

SRGNN with the sampled loss on synthetic clicks by Zipf's law. The batch is shared, as `--nproc` does. CPU seconds are
of the busiest process; the bytes are the gradients that a process hands over per step: rows of the item table with
their numbers, and the other weights. Beside them stands the item table, which dense gradients would be as large as.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from large_catalogue import synthetic
from load import machine

WARM_UP = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--n-sampled", type=int, default=2048)
    args = parser.parse_args()
    lines = [
        f"SRGNN, {args.items:,} items, batches of {args.batch_size}, {args.n_sampled:,} items drawn.",
        "",
        "| processes | CPU of the busiest, s a step | on the clock, s a step | sent, MB a step | item table, MB |",
        "|---:|---:|---:|---:|---:|",
    ]
    for n in args.processes:
        cpu, clock, sent, table = measure(args, n)
        lines.append(f"| {n} | {cpu:.3f} | {clock:.3f} | {sent / 1e6:.2f} | {table / 1e6:.0f} |")
    print("\n".join([*lines, "", machine()]))


def measure(args: argparse.Namespace, n: int) -> tuple[float, float, float, int]:
    """Median seconds of a step, and bytes per step, with so many processes."""
    from torch import multiprocessing

    with tempfile.TemporaryDirectory() as folder:
        results = multiprocessing.get_context("spawn").SimpleQueue()
        work = (n, Path(folder) / "meet", vars(args), results)
        processes = multiprocessing.start_processes(member, work, nprocs=n, join=False, start_method="spawn")
        found = [results.get() for _ in range(n)]
        processes.join()
    return max(one[0] for one in found), max(one[1] for one in found), max(one[2] for one in found), found[0][3]


def member(rank: int, n: int, meeting_point: Path, job: dict, results) -> None:
    import torch

    from recbole_tme.config.load import load_config
    from recbole_tme.data.dataset import SessionDataset
    from recbole_tme.data.loader import build_loaders
    from recbole_tme.nn import distributed
    from recbole_tme.nn.row_optim import RowAdam

    torch.set_num_threads(1)
    settings = {"loss_type": "sampled", "n_sampled": job["n_sampled"], "train_batch_size": job["batch_size"]}
    config = load_config("SRGNN", "toy", config_dict=settings | {"device": "cpu"})
    with distributed.group(rank, n, torch.device("cpu"), meeting_point):
        # Enough instances for the steps that are taken.
        prefixes = (job["steps"] + WARM_UP + 1) * job["batch_size"]
        datasets = SessionDataset(config, synthetic(job["items"], prefixes)).build()
        loader = build_loaders(config, datasets)[0]
        torch.manual_seed(0)
        model = config.model_class(config, datasets[0]).train()
        optimizer = RowAdam(model.parameters(), lr=config["learning_rate"], weight_decay=config["weight_decay"])
        cpu, clock = [], []
        for step, batch in enumerate(loader):
            if step == WARM_UP:
                distributed.take_sent()
            if step == WARM_UP + job["steps"]:
                break
            began = time.process_time(), time.perf_counter()
            optimizer.zero_grad(set_to_none=True)
            model.calculate_loss(batch).backward()
            distributed.average_gradients(model, len(batch))
            optimizer.step()
            cpu.append(time.process_time() - began[0])
            clock.append(time.perf_counter() - began[1])
        sent = distributed.take_sent() / (len(cpu) - WARM_UP)
        table = model.item_embedding.weight
        size = table.numel() * table.element_size()
        results.put((statistics.median(cpu[WARM_UP:]), statistics.median(clock[WARM_UP:]), sent, size))


if __name__ == "__main__":
    main()
