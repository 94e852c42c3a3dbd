"""``recbole-tme significance``: intervals of the models' metrics, and paired differences to one of them."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from recbole_tme.commands import options
from recbole_tme.errors import UserError

FEWEST_RESAMPLES = 100


SLICES = ("all", "repeat", "new", "last_click")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``recbole-tme significance``."""
    parser.description = (
        "Compare finished runs on the same test instances: intervals over seeds and sessions, p values of paired "
        "differences, Holm's adjustment over all of them. Runs that differ in nothing but their seed count as one "
        "model; a trained model with a single seed gets an interval over sessions and no p value."
    )
    parser.add_argument("runs", nargs="+", type=Path, help="run directories, or folders of them")
    parser.add_argument("--reference", help="what the others are compared with: a model's name as in the table, or one "
                        "of its run directories (default: the first)")  # fmt: skip
    parser.add_argument("--metrics", default="P@20,MRR@20", help="comma-separated (default: %(default)s)")
    parser.add_argument("--slice", choices=SLICES, default="all", help="test instances: all, those whose target is "
                        "repeated or new, or the last of each session (default: %(default)s)")  # fmt: skip
    parser.add_argument("--resamples", type=int, default=10_000, help="bootstrap resamples (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling (default: %(default)s)")
    parser.add_argument("--csv", type=Path, help="write all lines, with more digits, to this file")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme significance`` with parsed arguments.

    Raises:
        UserError: an option is impossible, or the runs cannot be compared.
    """
    from recbole_tme.evaluation.metrics import metric_key
    from recbole_tme.evaluation.significance import (
        compare,
        estimate,
        untested,
    )
    from recbole_tme.report.evaluated import find_reference, group_runs, read_runs
    from recbole_tme.report.significance import (
        COMPARISON_HEAD,
        CSV_HEAD,
        ESTIMATE_HEAD,
        comparison_cells,
        csv_rows,
        estimate_cells,
        method,
        part,
    )
    from recbole_tme.report.tables import caption
    from recbole_tme.utils import tabular
    from recbole_tme.utils.files import write_atomically

    if args.resamples < FEWEST_RESAMPLES:
        raise UserError(f"--resamples: {args.resamples} are too few for an interval; {FEWEST_RESAMPLES} at least")
    if args.seed < 0:
        raise UserError(f"--seed: must be a whole number of at least 0, not {args.seed}")
    metrics = list(dict.fromkeys(metric_key(name.strip(), "--metrics") for name in args.metrics.split(",")))
    runs = read_runs(options.run_paths(args))
    models = group_runs(runs)
    reference = find_reference(models, args.reference)
    ranks = {model.name: [part(one.ranks, args.slice) for one in model.runs] for model in models}
    sessions = len(np.unique(ranks[reference][0].session))
    if sessions < 2:
        raise UserError(f"--slice={args.slice}: {sessions} test session has such an instance, and a test needs two")
    pairs = [(name, reference) for name in ranks if name != reference]
    fixed = [model.name for model in models if model.seed_independent]
    settings = {"resamples": args.resamples, "seed": args.seed, "seed_independent": fixed}
    estimates = estimate(ranks, metrics, **settings)
    comparisons = compare(ranks, pairs, metrics, **settings)
    n_tests = sum(not np.isnan(line.p) for line in comparisons) if comparisons else None
    text = [caption(runs[0].protocol), method(args.slice, args.resamples, args.seed, n_tests)]
    if advice := untested(comparisons):
        text.append(advice)
    tables = [(ESTIMATE_HEAD, [estimate_cells(line) for line in estimates])]
    if comparisons:
        tables.append((COMPARISON_HEAD, [comparison_cells(line) for line in comparisons]))
    print("\n\n".join([*text, *(tabular.aligned(*table) for table in tables)]))
    if args.markdown:
        page = "\n\n".join([*text, *(tabular.markdown(*table) for table in tables)])
        write_atomically(args.markdown, f"{page}\n".encode())
    if args.csv:
        write_atomically(args.csv, tabular.csv_text(CSV_HEAD, csv_rows(estimates, comparisons)).encode())
    return 0
