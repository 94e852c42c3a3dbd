"""From a click log to the atomic files of a data set, CSV and Parquet: seconds and memory over growing logs.

    python benchmarks/import_log.py                              # 1, 10 and 30 million synthetic clicks
    python benchmarks/import_log.py --clicks 100000000           # 20 GB of disk, half an hour

A log holds sessions that overlap in time, its rows in order of time, as a shop's log does. Every measurement is a
process of its own that calls ``prepare``: it reads, sorts, filters, splits, writes and counts. CPU seconds are those of
all its threads, which a machine busy with other work prolongs less than the seconds on the clock.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from load import machine, memory_mb, run_child

FORMS = ("csv", "parquet")
_BLOCK = 2_000_000


def main() -> None:
    args = parse_arguments()
    if args.child:
        print(json.dumps(measure(json.loads(args.child))))
        return
    print("| clicks | form | file, GB | CPU seconds | seconds | peak, GB | train sessions | items |")
    print("|---:|---|---:|---:|---:|---:|---:|---:|", flush=True)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for n_clicks in args.clicks:
            for form in args.forms:
                path = Path(folder) / f"log.{form}"
                write_log(path, n_clicks)
                found = run_child(__file__, {"path": str(path), "out": folder})
                print(
                    f"| {n_clicks:,} | {form} | {path.stat().st_size / 1e9:.2f} | {found['cpu']:.1f} | "
                    f"{found['seconds']:.1f} | {found['peak'] / 1000:.2f} | {found['sessions']:,} | "
                    f"{found['items']:,} |",
                    flush=True,
                )
                path.unlink()
    print(f"\n{machine()}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clicks", type=int, nargs="+", default=[1_000_000, 10_000_000, 30_000_000])
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--folder", help="where the logs are written (default: the system's temporary folder)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def write_log(path: Path, n_clicks: int) -> None:
    """A log of ``n_clicks`` rows, a block at a time, the same rows whatever the form.

    A session begins every four clicks or so and lasts for the length of a Poisson number of further clicks among those
    of a thousand others. A twentieth as many items as clicks, at most a million, are clicked by a power law.
    """
    schema = pa.schema([("session_id", pa.int64()), ("item_id", pa.int64()), ("timestamp", pa.int64())])
    n_items = min(1_000_000, max(1000, n_clicks // 20))
    rng = np.random.default_rng(0)
    writer = pa_csv.CSVWriter(path, schema) if path.suffix == ".csv" else pq.ParquetWriter(path, schema)
    with writer:
        for start in range(0, n_clicks, _BLOCK):
            place = np.arange(start, min(start + _BLOCK, n_clicks))
            session = np.maximum(place // 4 - rng.integers(0, 1000, len(place)), 0)
            item = (n_items * rng.random(len(place)) ** 3).astype(np.int64)
            stamp = 1_569_888_000_000 + place * 100 + rng.integers(0, 100, len(place))
            columns = [pa.array(column) for column in (session, item, stamp)]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def measure(job: dict) -> dict:
    """Prepare one log in this process."""
    from recbole_tme.data.prepare import prepare

    started = time.perf_counter()
    folder = prepare(Path(job["path"]), "bench", Path(job["out"]), overwrite=True)
    seconds = time.perf_counter() - started
    counts = json.loads((folder / "bench.json").read_text())["counts"]
    return {
        "seconds": seconds,
        "cpu": time.process_time(),
        "peak": memory_mb("VmHWM"),
        "sessions": counts["train"]["sessions"],
        "items": counts["items"],
    }


if __name__ == "__main__":
    main()
