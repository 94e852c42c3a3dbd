"""Memory and time of a large log all the way: import, binary copy, steps of the sampled loss and validation.

    python benchmarks/large_log.py --clicks 10000000 30000000        # and 100000000 on a machine with time

The log is that of ``import_log.py``, CSV over up to a million items. One process prepares it, a second reads the text
and writes the copy, a third reads the copy, takes a part of an epoch (``--steps``; the order of a whole epoch is drawn
for it) and ranks a sample of the validation instances. Peaks are each process's own, pages of the mapped file that it
has read among them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from import_log import write_log
from load import machine, memory_mb, run_child

STAGES = ("prepare", "text to copy", "imports", "reading", "first batch", "steps", "validation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clicks", type=int, nargs="+", default=[10_000_000, 30_000_000])
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
            job = {"clicks": n, "folder": str(args.folder or folder)}
            if not (Path(job["folder"]) / f"log-{n}").exists():
                log = Path(folder) / f"log-{n}.csv"
                write_log(log, n)
                job |= run_child(__file__, job | {"what": "prepare", "log": str(log)})
                log.unlink()
                job |= run_child(__file__, job | {"what": "text to copy"})
            settings = {"steps": args.steps, "eval_sample": args.eval_sample}
            found = job | run_child(__file__, job | settings | {"what": "train"})
            about = f"{n:,} | {found['items']:,} | {found['instances']:,}"
            for stage in filter(found.get, STAGES):
                seconds, cpu, peak = found[stage]
                lines.append(f"| {about} | {stage} | {seconds:.1f} | {cpu:.1f} | {peak / 1000:.2f} |")
                about = " | | "
    print("\n".join([*lines, "", f"{args.steps} steps of 512; {machine()}"]))


def measure(job: dict) -> dict:
    """Prepare, write the copy, or train, in this process."""
    from recbole_tme.data import cache
    from recbole_tme.data.prepare import prepare

    name = f"log-{job['clicks']}"
    folder = Path(job["folder"]) / name
    # Small ones too, so that this can be tried.
    cache.LEAST_BYTES = 0
    if job["what"] == "train":
        return train(job, folder, name)
    started = time.perf_counter()
    if job["what"] == "prepare":
        prepare(job["log"], name, folder.parent)
    else:
        cache.read_cached(folder, name)
    return {job["what"]: (time.perf_counter() - started, time.process_time(), memory_mb("VmHWM"))}


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
    data = validation_cut(read_cached(folder, name), 0.02)
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
