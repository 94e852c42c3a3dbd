"""Everything that waits for a GPU, part by part, each in a process of its own; see README.md and run.sh.

    benchmarks/gpu/run.sh OUT [--only=loss,steps] [--skip=tests] [--budget=480] [--device=cuda] [--toy]

This module imports nothing but the standard library, so that it outlives whatever is wrong with a part.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Each part with the largest share of the budget that it may take; the last one takes what is left.
PARTS = {"tests": 0.2, "loss": 0.15, "steps": 0.3, "waits": 0.12, "table": 1.0}
# Seconds of the budget that are kept for writing everything down.
RESERVE = 5
# Bytes of the log that come back.
LOG_LIMIT = 5_000_000


def main() -> int:
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    found: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, share in PARTS.items():
            if name not in args.only or name in args.skip:
                found[name] = {"status": "skipped"}
                continue
            left = args.budget - RESERVE - (time.monotonic() - began)
            if left < 5:
                found[name] = {"status": "no time left"}
                continue
            limit = min(left, share * args.budget)
            found[name] = run_part(name, args, Path(folder), limit, found.get("loss", {}).get("result") or {})
            write(args.out, found, time.monotonic() - began)
    write(args.out, found, time.monotonic() - began)
    print((args.out / "RESULTS.md").read_text(encoding="utf-8"))
    return 0 if all(part["status"] in ("done", "skipped") for part in found.values()) else 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ",".join(PARTS)
    parser.add_argument("out", type=Path, help="folder of the results")
    parser.add_argument("--only", default=names, help=f"parts to do, of {names}")
    parser.add_argument("--skip", default="", help="parts to leave out")
    parser.add_argument("--budget", type=float, default=480, help="seconds for all of it (%(default)s)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--data", type=Path, help="folder of prepared data sets; default: what was carried along")
    parser.add_argument("--at-once", type=int, default=3, help="trainings of the table at a time (%(default)s)")
    parser.add_argument("--toy", action="store_true", help="toy data and few steps: whether the script works")
    args = parser.parse_args()
    for option in ("only", "skip"):
        chosen = [name for name in getattr(args, option).split(",") if name]
        unknown = [name for name in chosen if name not in PARTS]
        if unknown:
            parser.error(f"--{option}: {unknown[0]} is not one of {names}")
        setattr(args, option, chosen)
    args.out = args.out.resolve()
    args.data = args.data or Path(os.environ.get("GPU_DAY_DATA", ROOT / "dataset_atomic"))
    return args


def run_part(name: str, args: argparse.Namespace, folder: Path, limit: float, loss: dict) -> dict:
    """Do one part; what it found, how it ended and how long it took."""
    result, log = folder / f"{name}.json", args.out / "log.txt"
    job = {
        "device": args.device,
        "data": str(args.data.resolve()),
        "toy": args.toy,
        "out": str(args.out),
        "result": str(result),
        "at_once": args.at_once,
        # The part itself stops in time where it can.
        "seconds": max(1.0, limit - 5),
        "chunk_rows": loss.get("chunk_rows"),
    }
    began = time.monotonic()
    with log.open("a", encoding="utf-8") as file:
        file.write(f"\n===== {name}, at most {limit:.0f} s\n")
        file.flush()
        process = subprocess.Popen(
            command(name, job), stdout=file, stderr=file, cwd=ROOT, env=environment(name), start_new_session=True
        )
        try:
            code = process.wait(limit)
            status = "done" if code == 0 else f"failed with exit code {code}"
        except subprocess.TimeoutExpired:
            status = f"stopped after {limit:.0f} s"
        finally:
            end(process)
    part = {"status": status, "seconds": round(time.monotonic() - began, 1)}
    if result.exists():
        # Parts write what they have found so far, so that one that was stopped has something to show.
        part["result"] = json.loads(result.read_text(encoding="utf-8"))
    elif status == "done":
        part["status"] = "failed: it left no result"
    print(f"{name}: {part['status']}, {part['seconds']} s", file=sys.stderr)
    return part


def command(name: str, job: dict) -> list[str]:
    return [sys.executable, str(HERE / f"part_{name}.py"), json.dumps(job)]


def environment(name: str) -> dict[str, str]:
    variables = dict(os.environ, RECBOLE_TME_CACHE=str(Path(tempfile.gettempdir()) / "gpu-day-cache"))
    stock = variables.get("GPU_DAY_STOCK")
    if name == "steps" and stock:
        variables["PYTHONPATH"] = os.pathsep.join([stock, variables.get("PYTHONPATH", "")])
    return variables


def end(process: subprocess.Popen) -> None:
    """End a part and all that it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def write(out: Path, found: dict[str, dict], seconds: float) -> None:
    """Write down what there is so far, in one replace each, and keep the log small."""
    texts = {"day.json": json.dumps({"seconds": round(seconds, 1), "parts": found}, indent=1)}
    texts["RESULTS.md"] = report(found, seconds)
    for name, text in texts.items():
        partial = out / f"{name}.partial"
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(out / name)
    log = out / "log.txt"
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.write_bytes(b"(the beginning is left out)\n" + log.read_bytes()[-LOG_LIMIT:])


def report(found: dict[str, dict], seconds: float) -> str:
    lines = ["# A day on a GPU", "", f"All parts together took {seconds:.0f} s.", "", "| part | how it ended | s |"]
    lines += ["|---|---|---:|"]
    lines += [f"| {name} | {part['status']} | {part.get('seconds', '')} |" for name, part in found.items()]
    for name, part in found.items():
        text = (part.get("result") or {}).get("text")
        if text:
            lines += ["", f"## {name}", "", *text]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
