"""How the time per training instance changes with the batch, ours and RecBole's, beside the floor of the loss.

    python benchmarks/batch_size.py --data dataset_atomic/tmall --name tmall --plot benchmarks/plots/batch_size.svg

One process, one thread, turns as in ``step.py``; a step of each size is of the epoch's mean width.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from _plot import growth
from _sides import SIZE, OurSide, StockSide, common_arguments, start, take_turns
from load import machine
from step import PRECISIONS, loss_floor, our_jobs, stock_jobs, typical_rows

SIZES = (64, 128, 256, 512, 1024, 2048)


def main() -> None:
    parser = common_arguments(__doc__, rounds=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--plot", type=Path, help="draw the curves into this file, such as .svg (needs matplotlib)")
    args = parser.parse_args()
    data = start(args)
    with tempfile.TemporaryDirectory() as folder:
        ours = OurSide(data, Path(folder) / "ours", args.batch_size)
        stock = StockSide(data, Path(folder) / "stock", args.batch_size)
        trainers = {("SRGNN", p): ours.trainer("SRGNN", loss_precision=p) for p in PRECISIONS}
        loader = trainers["SRGNN", "fp32"][1][0]
        table = torch.randn(loader.dataset.item_num, SIZE)
        jobs = {}
        for size in args.sizes:
            rows = typical_rows(loader, 1, size)
            competitors = stock_jobs(stock, rows, ("SRGNN",)) | our_jobs(trainers, rows)
            floors = {f"floor {name}": loss_floor(size, table, p) for name, p in PRECISIONS.items()}
            jobs |= {(name, size): job for name, job in (competitors | floors).items()}
        seconds = take_turns(jobs, args.rounds)
    curves: dict[str, list[tuple[float, float]]] = {}
    for (name, size), value in seconds.items():
        curves.setdefault(name, []).append((size, 1e6 * value / size))
    if args.plot:
        growth(args.plot, "instances in a batch", "CPU microseconds per instance", curves)
    print(report(args, curves))


def report(args, curves: dict[str, list[tuple[float, float]]]) -> str:
    """The curves as a Markdown table."""
    lines = [
        f"SRGNN on {args.name}, {SIZE} numbers per item; CPU microseconds per training instance at one thread, medians "
        f"of {args.rounds} turns.",
        "",
        f"| batch | {' | '.join(str(size) for size in args.sizes)} |",
        "|---|" + "---:|" * len(args.sizes),
    ]
    lines += [f"| {name} | {' | '.join(f'{y:.0f}' for _, y in points)} |" for name, points in curves.items()]
    return "\n".join([*lines, "", machine()])


if __name__ == "__main__":
    main()
