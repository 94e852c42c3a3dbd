"""A small training step beside busy processes, under several ways of waiting at OpenMP's barriers.

    python benchmarks/threads.py

Every measurement is a fresh process, because OpenMP reads its settings once; the settings take turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

SETTINGS = {
    "default": {},
    "GOMP_SPINCOUNT=20000": {"GOMP_SPINCOUNT": "20000"},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
}
BUSY = [sys.executable, "-c", "while True: pass"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="measurements per setting")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(step_milliseconds())
        return
    print("| waiting | alone, ms | beside as many busy processes as cores, ms |\n|---|---|---|")
    found = {name: ([], []) for name in SETTINGS}
    for column, n_busy in enumerate((0, os.cpu_count())):
        busy = [subprocess.Popen(BUSY) for _ in range(n_busy)]
        try:
            for _ in range(args.repeats):
                for name, variables in SETTINGS.items():
                    found[name][column].append(measure(variables))
        finally:
            for process in busy:
                process.kill()
    for name, columns in found.items():
        print(f"| {name} | " + " | ".join(f"{statistics.median(column):.1f}" for column in columns) + " |")


def measure(variables: dict[str, str]) -> float:
    """Median milliseconds of a step in a fresh process with these environment variables."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, __file__, "--child"]
    return float(subprocess.run(command, env=clean | variables, capture_output=True, text=True, check=True).stdout)


def step_milliseconds(n_steps: int = 60) -> float:
    """Median time of loss and gradients for 512 sessions and 1,300 items, and of a GRU cell on 4,000 nodes."""
    import torch

    from recbole_tme.nn.losses import catalogue_cross_entropy

    torch.manual_seed(0)
    sessions = torch.randn(512, 100, requires_grad=True)
    table = (torch.randn(1301, 100) * 0.1).requires_grad_()
    target = torch.randint(1, 1301, (512,))
    cell, messages, states = torch.nn.GRUCell(200, 100), torch.randn(4000, 200), torch.randn(4000, 100)
    times = []
    for _ in range(n_steps):
        started = time.perf_counter()
        catalogue_cross_entropy(sessions, table, target, 200)[0].backward()
        cell(messages, states).sum().backward()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


if __name__ == "__main__":
    main()
