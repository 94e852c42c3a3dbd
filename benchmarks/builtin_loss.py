"""A training step of RecBole's models with a plain softmax, by their own loss and by the fused form of it.

    python benchmarks/builtin_loss.py --data dataset_atomic/tmall --name tmall

One process, one thread; all of them train in our trainer on the same batches, which are as wide in the mean as all of
an epoch's.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from _sides import PEERS, SIZE, OurSide, common_arguments, start, take_turns
from load import machine
from step import our_jobs, typical_rows

from recbole_tme.models.plain_softmax import PLAIN_SOFTMAX

WAYS = ("own", "fp32", "bf16")
SIZES = PEERS | {
    "GRU4Rec": {"embedding_size": SIZE, "hidden_size": SIZE},
    "LightSANs": {"hidden_size": SIZE},
    "STAMP": {"embedding_size": SIZE},
}


def main() -> None:
    parser = common_arguments(__doc__, rounds=3)
    parser.add_argument("--steps", type=int, default=3, help="steps per turn")
    args = parser.parse_args()
    data = start(args)
    with tempfile.TemporaryDirectory() as folder:
        side = OurSide(data, Path(folder), args.batch_size)
        trainers = {}
        for name in PLAIN_SOFTMAX:
            for way in WAYS:
                trainers[name, way] = side.trainer(f"recbole:{name}", SIZES[name], builtin_loss=way)
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
        "| model | its own loss | fused fp32 | ratio | fused bf16 | ratio |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in PLAIN_SOFTMAX:
        own, fp32, bf16 = (seconds[f"{name} {way}"] for way in WAYS)
        lines.append(f"| {name} | {own:.3g} | {fp32:.3g} | 1/{own / fp32:.2f} | {bf16:.3g} | 1/{own / bf16:.2f} |")
    return "\n".join([*lines, "", machine()])


if __name__ == "__main__":
    main()
