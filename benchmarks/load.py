"""From atomic files to the first training batch: time and memory, ours and stock RecBole's.

    python benchmarks/load.py                                  # a synthetic data set of Tmall's shape
    python benchmarks/load.py --data dataset_atomic/tmall --name tmall

Every measurement is a fresh process; the two sides take turns. Time and memory count from after the imports, to which
each side's own baseline belongs. Stock RecBole reads its own prefix files, written here from the same sessions.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _stock

VALID_RATIO = 0.1
SIDES = ("ours", "stock")
MEASURES = {
    "seconds": "time to the first batch, s",
    "above_imports": "peak memory above the imports, MB",
    "peak": "peak memory, MB",
}


def main() -> None:
    args = parse_arguments()
    if args.child:
        job = json.loads(args.child)
        print(json.dumps(measure(job)))
        return
    with tempfile.TemporaryDirectory() as folder:
        job = prepare(args, Path(folder))
        found = {side: [] for side in SIDES}
        for turn in range(args.repeats + 1):
            for side in SIDES if turn % 2 else reversed(SIDES):
                result = run_child(__file__, {**job, "side": side})
                # The first turn only brings the files into the page cache.
                if turn:
                    found[side].append(result)
    check_same_work(found)
    print(report(job, found, args.repeats))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a data set's own folder of atomic files; default: synthetic")
    parser.add_argument("--name", default="synthetic-tmall", help="the name its files begin with")
    parser.add_argument("--repeats", type=int, default=5, help="measurements per side")
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def prepare(args: argparse.Namespace, folder: Path) -> dict:
    """Files for both sides; returns what a child needs to know."""
    from recbole_tme.data.readers.atomic import read_dataset, write_dataset
    from recbole_tme.data.split import validation_cut

    data_folder = args.data
    if data_folder is None:
        data_folder = write_dataset(folder / "atomic", tmall_shaped(args.name), {"source": "synthetic"})
    data = validation_cut(read_dataset(data_folder, args.name), VALID_RATIO)
    _stock.write_presplit(data, folder / "presplit")
    splits = (data.train, data.valid, data.test)
    return {
        "folder": str(data_folder.resolve()),
        "presplit": str(folder / "presplit"),
        "name": args.name,
        # Exactly the longest prefix, so that both sides pad to the same width.
        "max_length": int(max(part.lengths.max() for part in splits)) - 1,
        "batch_size": args.batch_size,
        "instances": sum(len(part.instances()[0]) for part in splits),
        "clicks": sum(len(part.items) for part in splits),
    }


def tmall_shaped(name: str):
    """Random sessions with about the counts of the field's Tmall split (65,286 and 1,027 sessions, 40,727 items)."""
    import numpy as np

    from recbole_tme.data.sessions import PAD_TOKEN, SessionData, Sessions

    rng = np.random.default_rng(0)
    n_items = 40_727
    weights = 1 / np.arange(1, n_items + 1) ** 0.6
    order = rng.permutation(n_items) + 1

    def sessions(n: int, mean_length: float, first: int) -> Sessions:
        lengths = np.clip(2 + rng.geometric(1 / (mean_length - 1), n) - 1, 2, 39)
        items = order[rng.choice(n_items, lengths.sum(), p=weights / weights.sum())]
        ids = np.array([str(first + s) for s in range(n)], dtype=object)
        return Sessions(items.astype(np.int32), np.append(0, np.cumsum(lengths)), ids)

    tokens = np.array([PAD_TOKEN, *map(str, range(1, n_items + 1))], dtype=object)
    return SessionData(name, train=sessions(65_286, 6.4, 1), test=sessions(1_027, 26.2, 65_287), tokens=tokens)


def run_child(script: str, job: dict):
    """One measurement of a benchmark's ``--child`` in a process of its own; what it prints last, as JSON."""
    done = subprocess.run(
        [sys.executable, script, "--child", json.dumps(job)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{job} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(job: dict) -> dict:
    """Load up to the first batch in this process."""
    first_batch = ours(job) if job["side"] == "ours" else stock(job)
    gc.collect()
    # Forgets the peak of the imports, where the kernel allows it.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    baseline = memory_mb("VmRSS")
    started = time.perf_counter()
    train, batch = first_batch()
    seconds = time.perf_counter() - started
    peak = memory_mb("VmHWM")
    return {
        "seconds": seconds,
        "above_imports": peak - baseline,
        "peak": peak,
        "train_instances": len(train.dataset),
        "items": train.dataset.item_num,
        "batch": list(batch["item_id_list"].shape),
    }


def ours(job: dict):
    """What our side does, everything imported."""
    from recbole_tme.data.dataset import SessionDataset
    from recbole_tme.data.loader import build_loaders
    from recbole_tme.data.readers.atomic import read_dataset
    from recbole_tme.data.split import validation_cut

    # Rows of one width, as on the other side; our batches would be only as wide as their longest prefix.
    config = _stock.make_config(Path(job["presplit"]), job["name"], job["max_length"], job["batch_size"], padding="max")

    def first_batch():
        data = validation_cut(read_dataset(Path(job["folder"]), job["name"]), VALID_RATIO)
        train = build_loaders(config, SessionDataset(config, data).build())[0]
        return train, next(iter(train))

    return first_batch


def stock(job: dict):
    """What stock RecBole does, everything imported."""
    import recbole.data  # noqa: F401

    config = _stock.make_config(Path(job["presplit"]), job["name"], job["max_length"], job["batch_size"])
    return lambda: _stock.first_batch(config)


def memory_mb(field: str) -> float:
    """A field of this process's status, in MB (10^6 bytes)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit(f"/proc/self/status has no {field}; memory is measured on Linux only")


def check_same_work(found: dict[str, list[dict]]) -> None:
    """Stop if the two sides did not load the same instances."""
    seen = {(r["train_instances"], r["items"], *r["batch"]) for results in found.values() for r in results}
    if len(seen) != 1:
        raise SystemExit(f"the sides loaded different data (instances, items, batch shape): {sorted(seen)}")


def report(job: dict, found: dict[str, list[dict]], repeats: int) -> str:
    """The medians as a Markdown table."""
    lines = [
        f"Load of {job['name']} to the first batch of {job['batch_size']}: {job['clicks']:,} clicks, "
        f"{job['instances']:,} instances, prefixes of up to {job['max_length']} clicks; "
        f"medians of {repeats} interleaved runs.",
        "",
        "| | ours | stock RecBole | ratio |",
        "|---|---|---|---|",
    ]
    for key, label in MEASURES.items():
        a, b = (statistics.median(result[key] for result in found[side]) for side in SIDES)
        lines.append(f"| {label} | {a:.3g} | {b:.4g} | 1/{b / a:.1f} |")
    return "\n".join([*lines, "", machine()])


def machine() -> str:
    """The machine and the versions in a line."""
    import numpy
    import pandas
    import recbole
    import torch

    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    return (
        f"{cpu}, {os.cpu_count()} cores; Python {platform.python_version()}, RecBole {recbole.__version__}, "
        f"torch {torch.__version__}, numpy {numpy.__version__}, pandas {pandas.__version__}"
    )


if __name__ == "__main__":
    main()
