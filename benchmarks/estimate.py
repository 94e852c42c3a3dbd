"""What `estimate` says of a run before it starts, and what the run then takes.

    python benchmarks/estimate.py --data-path dataset_atomic --runs TMEGNN:ml100k-sessions:5 TMEGNN:tmall:1

Each run is MODEL:DATASET:EPOCHS, trained for exactly so many epochs on one thread, in a process of its own. CPU seconds
are compared, because other processes may have the cores for a while; imports count on neither side.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time

from load import machine, run_child


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", default=["TMEGNN:ml100k-sessions:5"], help="MODEL:DATASET:EPOCHS")
    parser.add_argument("--data-path", default="dataset_atomic", help="folder of prepared data sets")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(take(json.loads(args.child))))
        return
    lines = ["| run | epochs | | estimated | taken | ratio |", "|---|---:|---|---:|---:|---:|"]
    for text in args.runs:
        model, dataset, epochs = text.split(":")
        job = {"model": model, "dataset": dataset, "epochs": int(epochs), "data_path": args.data_path}
        said = run_child(__file__, job | {"what": "estimate"})
        print(f"{text}: estimated {said}; now it is run", file=sys.stderr)
        taken = run_child(__file__, job | {"what": "run"})
        for key, title in (("cpu", "CPU time, s"), ("memory", "peak memory, MB")):
            ratio = said[key] / taken[key]
            lines.append(
                f"| {model}, {dataset} | {epochs} | {title} | {said[key]:.0f} | {taken[key]:.0f} | {ratio:.2f} |"
            )
    print("\n".join([*lines, "", machine()]))


def take(job: dict) -> dict[str, float]:
    """Estimate or do a run; CPU seconds and MB."""
    from recbole_tme.config.load import load_config
    from recbole_tme.experiment.details import peak_memory
    from recbole_tme.experiment.estimate import estimate
    from recbole_tme.experiment.run import run

    with tempfile.TemporaryDirectory() as folder:
        settings = {key: job[key] for key in ("epochs", "data_path")}
        settings |= {"run_dir": folder, "threads": 1, "device": "cpu", "show_progress": False}
        # Exactly so many epochs.
        settings["stopping_step"] = settings["epochs"]
        config = load_config(job["model"], job["dataset"], config_dict=settings)
        if job["what"] == "estimate":
            found = estimate(config)
            return {"cpu": found.total().cpu, "memory": (found.memory or 0) / 2**20}
        began = time.process_time()
        run(config)
        return {"cpu": time.process_time() - began, "memory": peak_memory(config["device"]) or 0.0}


if __name__ == "__main__":
    main()
