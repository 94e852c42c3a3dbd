"""Scores of catalogues of any size: a plain product, and one into rows that begin at whole cache lines.

    python benchmarks/catalogue_sizes.py

One process, one thread, float32; the number of rows of the item table, padding included, is what differs.
"""

from __future__ import annotations

import argparse

import torch
from _sides import SIZE, take_turns
from load import machine

from recbole_tme.nn.scoring import inner_products
from recbole_tme.utils.hardware import keep_freed_memory

# About Tmall's, in steps of one, two, eight and sixteen; Diginetica's; Nowplaying's.
SIZES = (40_727, 40_728, 40_730, 40_736, 43_098, 60_417)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="turns of each competitor; medians are over them")
    parser.add_argument("--batch-size", type=int, default=512)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_freed_memory()
    queries, jobs = torch.randn(args.batch_size, SIZE), {}
    for size in SIZES:
        table = torch.randn(size, SIZE)
        jobs[size, "plain"] = lambda table=table: queries @ table.T
        jobs[size, "aligned"] = lambda table=table: inner_products(queries, table)
    print(report(take_turns(jobs, args.rounds), args))


def report(seconds: dict[tuple[int, str], float], args: argparse.Namespace) -> str:
    """The medians as a Markdown table."""
    lines = [
        f"Scores of {args.batch_size} sessions, {SIZE} numbers per item, float32; CPU milliseconds at one thread, "
        f"medians of {args.rounds} turns.",
        "",
        "| rows of the item table | plain product | rows at whole cache lines | ratio |",
        "|---:|---:|---:|---:|",
    ]
    for size in SIZES:
        plain, aligned = (1000 * seconds[size, part] for part in ("plain", "aligned"))
        lines.append(f"| {size:,} | {plain:.1f} | {aligned:.1f} | 1/{plain / aligned:.2f} |")
    return "\n".join([*lines, "", machine()])


if __name__ == "__main__":
    main()
