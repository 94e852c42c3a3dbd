"""A training step of RecBole's models with a plain softmax: padded as RecBole pads or not, by their own loss or fused.

    python benchmarks/builtin_models.py --data dataset_atomic/tmall --name tmall

One process, one thread; all of them train in our trainer on the same batches, which are as wide in the mean as all of
an epoch's.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from _sides import PEERS, SIZE, OurSide, start, take_turns
from load import machine
from step import arguments, our_jobs, typical_rows

from recbole_tme.models.builtin.discovery import PLAIN_SOFTMAX

WAYS = {
    "padded to 50, own loss": {"padding": "max", "builtin_loss": "own"},
    "own loss": {"builtin_loss": "own"},
    "fused fp32": {"builtin_loss": "fp32"},
    "fused bf16": {"builtin_loss": "bf16"},
}
SIZES = PEERS | {
    "GRU4Rec": {"embedding_size": SIZE, "hidden_size": SIZE},
    "LightSANs": {"hidden_size": SIZE},
    "STAMP": {"embedding_size": SIZE},
}


def main() -> None:
    args = arguments(__doc__)
    data = start(args)
    with tempfile.TemporaryDirectory() as folder:
        side = OurSide(data, Path(folder), args.batch_size)
        trainers = {}
        for name in PLAIN_SOFTMAX:
            for way, settings in WAYS.items():
                trainers[name, way] = side.trainer(f"recbole:{name}", SIZES[name], **settings)
        loader = next(iter(trainers.values()))[1][0]
        rows = typical_rows(loader, args.steps, args.batch_size)
        seconds = take_turns(our_jobs(trainers, rows), args.rounds)
    print(report(args, {name: value / args.steps for name, value in seconds.items()}))


def report(args: argparse.Namespace, seconds: dict[str, float]) -> str:
    """The medians as a Markdown table."""
    lines = [
        f"A training step on {args.name}: batch {args.batch_size}, {SIZE} numbers per item; CPU seconds at one thread, "
        f"medians of {args.rounds} turns of {args.steps} steps each.",
        "",
        "| model | " + " | ".join(WAYS) + " | last of first |",
        "|---" + "|---:" * (len(WAYS) + 1) + "|",
    ]
    for name in PLAIN_SOFTMAX:
        steps = [seconds[f"{name} {way}"] for way in WAYS]
        lines.append(
            f"| {name} | " + " | ".join(f"{step:.3g}" for step in steps) + f" | 1/{steps[0] / steps[-1]:.2f} |"
        )
    return "\n".join([*lines, "", machine()])


if __name__ == "__main__":
    main()
