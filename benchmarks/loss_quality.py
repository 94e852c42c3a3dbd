"""How well models learn with each loss: validation figures of finished runs, which differ in nothing else.

    for loss in full sampled scalable; do
        recbole-tme run --model=SRGNN --dataset=tmall --loss_type=$loss --epochs=3 --lr_step=2 --run_dir=runs/loss
    done
    python benchmarks/loss_quality.py runs/loss

Validation, because runs with and without ``retrain`` select their epoch by it all the same.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from recbole_tme.runs.directory import RunDirectory, finished_runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="run directories or folders of them")
    rows = [line(run) for run in finished_runs(parser.parse_args().runs)]
    print("| data | loss_type | precision | seed | instances | MRR@20 by epoch | best P@20 | best MRR@20 | epoch, s |")
    print("|---|---|---|---:|---:|---|---:|---:|---:|")
    print("\n".join(sorted(rows)))


def line(run: RunDirectory) -> str:
    metrics, config = run.read_metrics(), run.read_config()
    with run.history_file.open() as file:
        epochs = [row for row in csv.DictReader(file) if row["phase"] == "select"]
    curve = ", ".join(f"{100 * float(row['valid_mrr@20']):.2f}" for row in epochs)
    valid, loss = metrics["valid"], config["loss_type"]
    if loss == "sampled":
        loss += f", {config['n_sampled']:,} items" + (" and the batch's" if config["in_batch_negatives"] else "")
    return (
        f"| {metrics['dataset']} | {loss} | {config['loss_precision']} | {metrics['seed']} "
        f"| {metrics['protocol']['valid_instances']:,} | {curve} | {100 * valid['hit@20']:.2f} "
        f"| {100 * valid['mrr@20']:.2f} | {min(float(row['train_seconds']) for row in epochs):.0f} |"
    )


if __name__ == "__main__":
    main()
