"""``recbole-tme compare``: models trained and evaluated by one protocol, and a report on them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recbole_tme.commands import options

TAKES_KEYS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``recbole-tme compare``."""
    parser.usage = "recbole-tme compare --models=NAME,... [options] [--KEY=VALUE ...]"
    parser.description = (
        "Train and evaluate models on the same data by the same protocol, and report on them with intervals and tests. "
        "Finished runs with the same settings are used again and interrupted ones continued, so the same command goes "
        "on where it was stopped. Any configuration key can be set for all models; it is ignored by models "
        "that lack it. Exit code: 0 all done, 1 a model failed, 2 bad input, 130 interrupted."
    )
    parser.add_argument("--models", required=True, help="comma-separated names, each followed by settings of its own "
                        "if any: 'TMEGNN,TMEGNN triplet_weight=0,ATSRec+SASRec,recbole:NARM,STAN'")  # fmt: skip
    options.add_dataset(parser)
    parser.add_argument("--seeds", default="3", help="how many, from the key seed on (2020), or a list such as 1,2,3 "
                        "(default: %(default)s)")  # fmt: skip
    options.add_config_files(parser)
    parser.add_argument("--tuned", type=Path, help="take each model's settings from the best.yaml of a search below "
                        "this folder")  # fmt: skip
    options.add_plugin(parser)
    parser.add_argument("--reference", help="the model that the others are tested against (default: the best)")
    parser.add_argument("--out", type=Path, help="folder of the report (default: <run_dir>/<dataset>/compare-<name>)")
    options.add_output(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what would be trained, what it would take, and "
                        "what is there already")  # fmt: skip
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--workers", type=int, default=1, help="runs at once on this machine, which share its cores")
    where.add_argument("--ray-address", help="spread the runs over a Ray cluster (auto or HOST:PORT) whose nodes see "
                       "the same folders")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme compare`` with parsed arguments; ``args.overrides`` are settings for all models.

    Raises:
        UserError: an option is impossible, or as ``compare``.
    """
    from recbole_tme.api.comparing import carry_out, plan_comparison, plan_lines
    from recbole_tme.api.estimating import plan_estimates
    from recbole_tme.commands.next_steps import after_comparison, say_next
    from recbole_tme.utils import terminal

    options.load_plugins(args)
    files = options.named_files(args)
    planned = plan_comparison(
        args.models, args.dataset, args.seeds, files, args.tuned, args.overrides, args.reference, args.workers
    )
    if args.dry_run:
        print("\n".join(plan_lines(planned)))
        for line in plan_estimates(planned):
            print("\n".join(terminal.fold(line, "  ")), flush=True)
        return 0
    for line in plan_lines(planned):
        terminal.say(line)
    terminal.say()
    found = carry_out(planned, args.reference, args.out, args.workers, args.ray_address)
    if not found.runs:
        print(f"no run finished; the reasons are in {found.path / 'failures.json'}", file=sys.stderr)
        return 1
    terminal.say()
    print(found, flush=True)
    say_next(after_comparison(found))
    return 1 if found.failures else 0
