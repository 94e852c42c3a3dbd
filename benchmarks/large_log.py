"""Memory and time of training on a large log: from the binary copy through steps of the sampled loss and validation.

    python benchmarks/large_log.py --clicks 10000000 30000000        # and 100000000 on a machine with time

Synthetic sessions over up to a million items, written as atomic files first. What is measured is a process that reads
their copy, takes a part of an epoch (``--steps``; the order of a whole epoch is drawn for it) and ranks a sample of the
validation instances. Peaks are the process's own, pages of the mapped file that it has read among them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from load import machine, memory_mb, run_child

STAGES = ("imports", "reading", "first batch", "steps", "validation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clicks", type=int, nargs="+", default=[10_000_000, 30_000_000])
    parser.add_argument("--items", type=int, default=1_000_000, help="at most, and one per 20 clicks (%(default)s)")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--eval-sample", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="keep the files here; default: a temporary folder")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(json.loads(args.child))))
        return
    lines = [
        "| clicks | items | instances | stage | seconds | CPU, s | peak so far, GB |",
        "|---:|---:|---:|---|---:|---:|---:|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for n in args.clicks:
            job = {"clicks": n, "items": args.items, "folder": str(args.folder or folder)}
            if not (Path(job["folder"]) / f"log-{n}").exists():
                run_child(__file__, job | {"what": "write"})
                run_child(__file__, job | {"what": "copy"})
            found = run_child(__file__, job | {"what": "train", "steps": args.steps, "eval_sample": args.eval_sample})
            for stage in STAGES:
                seconds, cpu, peak = found[stage]
                about = f"{n:,} | {found['items']:,} | {found['instances']:,}" if stage == STAGES[0] else " | | "
                lines.append(f"| {about} | {stage} | {seconds:.1f} | {cpu:.1f} | {peak / 1000:.2f} |")
    print("\n".join([*lines, "", f"{args.steps} steps of 512; {machine()}"]))


def measure(job: dict) -> dict:
    """Write the files, their copy, or train, in this process."""
    name = f"log-{job['clicks']}"
    folder = Path(job["folder"]) / name
    if job["what"] == "write":
        from recbole_tme.data.readers.atomic import write_dataset
        from recbole_tme.data.synthetic import random_dataset

        n_items = min(job["items"], max(1000, job["clicks"] // 20))
        write_dataset(folder, random_dataset(name, job["clicks"] // 6, n_items, exponent=0.8), {"source": "synthetic"})
        return {}
    from recbole_tme.data import cache

    # Small ones too, so that this can be tried.
    cache.LEAST_BYTES = 0
    if job["what"] == "copy":
        cache.read_cached(folder / name, name)
        return {}
    return train(job, folder, name)


def train(job: dict, folder: Path, name: str) -> dict:
    """Seconds, CPU seconds and the peak in MB of each stage."""
    import torch
    from _sides import OurSide

    from recbole_tme.data.cache import read_cached
    from recbole_tme.data.split import validation_cut
    from recbole_tme.experiment.estimate import First
    from recbole_tme.utils.hardware import keep_freed_memory

    torch.set_num_threads(1)
    found: dict = {}
    last = time.perf_counter(), time.process_time()

    def stage(title: str) -> None:
        nonlocal last
        now = time.perf_counter(), time.process_time()
        found[title] = now[0] - last[0], now[1] - last[1], memory_mb("VmHWM")
        last = now

    stage("imports")
    data = validation_cut(read_cached(folder / name, name), 0.02)
    stage("reading")
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as place:
        settings = {"loss_type": "sampled", "n_sampled": 2048, "eval_sample": job["eval_sample"], "eval_batch_size": 64}
        trainer, loaders = OurSide(data, Path(place), 512).trainer("SRGNN", **settings)
        found |= {"items": len(data.tokens) - 1, "instances": len(loaders[0].dataset)}
        next(iter(loaders[0]))
        stage("first batch")
        trainer._train_epoch(First(loaders[0], job["steps"]), 0)
        stage("steps")
        trainer.evaluate_model(trainer.model, loaders[1])
        stage("validation")
    return found


if __name__ == "__main__":
    main()
