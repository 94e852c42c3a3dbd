"""From atomic files to the first training batch over growing data: parsed from text, and from the binary copy.

    python benchmarks/clicks.py                     # 0.1, 1 and 10 million synthetic clicks

Every measurement is a process of its own and the two ways take turns; medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from _plot import growth
from load import machine, memory_mb, run_child

WAYS = ("text", "copy")


def main() -> None:
    args = parse_arguments()
    if args.child:
        print(json.dumps(measure(json.loads(args.child))))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for n_clicks in args.clicks:
            job = run_child(__file__, {"write": n_clicks, "folder": folder})
            # The first copy is written here, and the files are brought into the page cache.
            run_child(__file__, job | {"way": "copy"})
            found = {way: [] for way in WAYS}
            for turn in range(args.repeats):
                for way in WAYS if turn % 2 else reversed(WAYS):
                    found[way].append(run_child(__file__, job | {"way": way}))
            rows.append((job, found))
    if args.plot:
        curves = {
            f"from the {way}": [
                (job["clicks"], statistics.median(one["batch"] for one in found[way])) for job, found in rows
            ]
            for way in WAYS
        }
        growth(args.plot, "clicks", "seconds to the first batch", curves)
    print(report(rows, args.repeats))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clicks", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--repeats", type=int, default=3, help="measurements each")
    parser.add_argument("--plot", type=Path, help="draw the curves into this file, such as .svg (needs matplotlib)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(job: dict) -> dict:
    """Write a data set, or load one up to the first batch, in this process."""
    from recbole_tme.config.load import load_config
    from recbole_tme.data import cache
    from recbole_tme.data.dataset import SessionDataset
    from recbole_tme.data.loader import build_loaders
    from recbole_tme.data.readers.atomic import read_dataset, write_dataset
    from recbole_tme.data.split import validation_cut
    from recbole_tme.data.synthetic import random_dataset

    if "write" in job:
        n_sessions = job["write"] // 6
        data = random_dataset(f"clicks-{job['write']}", n_sessions, max(1000, job["write"] // 20), exponent=0.8)
        folder = write_dataset(Path(job["folder"]), data, {"source": "synthetic"})
        clicks = len(data.train.items) + len(data.test.items)
        return {"folder": str(folder), "clicks": clicks, "items": len(data.tokens) - 1}
    config = load_config("SRGNN", "toy", config_dict={"device": "cpu"})
    cache.LEAST_BYTES = 0
    folder = Path(job["folder"])
    started = time.perf_counter()
    read = cache.read_cached if job["way"] == "copy" else read_dataset
    data = read(folder, folder.name)
    read_seconds = time.perf_counter() - started
    train = build_loaders(config, SessionDataset(config, validation_cut(data, config["valid_ratio"])).build())[0]
    next(iter(train))
    return {"read": read_seconds, "batch": time.perf_counter() - started, "peak": memory_mb("VmHWM")}


def report(rows: list[tuple[dict, dict]], repeats: int) -> str:
    """The medians as a Markdown table."""
    lines = [
        f"Medians of {repeats}; the peak includes some 0.4 GB of imports.",
        "",
        "| clicks | items | read text, s | read copy, s | ratio | first batch from text, s | from copy, s "
        "| peak from text, GB | from copy, GB |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for job, found in rows:
        m = {
            (way, key): statistics.median(result[key] for result in found[way])
            for way in WAYS
            for key in ("read", "batch", "peak")
        }
        lines.append(
            f"| {job['clicks']:,} | {job['items']:,} | {m['text', 'read']:.3g} | {m['copy', 'read']:.3g} | "
            f"1/{m['text', 'read'] / m['copy', 'read']:.1f} | {m['text', 'batch']:.3g} | {m['copy', 'batch']:.3g} | "
            f"{m['text', 'peak'] / 1000:.2f} | {m['copy', 'peak'] / 1000:.2f} |"
        )
    return "\n".join([*lines, "", machine()])


if __name__ == "__main__":
    main()
