"""``recbole-tme significance``: intervals of the models' metrics, and paired differences to one of them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recbole_tme.errors import UserError
from recbole_tme.evaluation.metrics import metric_key, slice_masks
from recbole_tme.evaluation.ranks import Ranks
from recbole_tme.evaluation.significance import (
    CONFIDENCE,
    RESAMPLES,
    Comparison,
    Estimate,
    compare,
    estimate,
)
from recbole_tme.evaluation.summary import shown_name
from recbole_tme.report.evaluated import find_reference, group_runs, read_runs
from recbole_tme.report.tables import caption
from recbole_tme.utils import tabular
from recbole_tme.utils.files import write_atomically

SLICES = ("all", "repeat", "new", "last_click")
FEWEST_RESAMPLES = 100
CSV_HEAD = (
    *("model", "reference", "metric", "points", "low", "high", "p", "p_holm", "effect", "equal_sessions"),
    *("sessions", "seeds", "seed_spread"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``recbole-tme significance``."""
    parser.description = (
        "Compare finished runs on the same test instances: intervals by resampling sessions, paired p values, Holm's "
        "adjustment over all lines. Runs that differ in nothing but their seed count as one model."
    )
    parser.add_argument("runs", nargs="+", type=Path, help="run directories, or folders of them")
    parser.add_argument("--reference", help="what the others are compared with: a model's name as in the table, or one "
                        "of its run directories (default: the first)")  # fmt: skip
    parser.add_argument("--metrics", default="P@20,MRR@20", help="comma-separated (default: %(default)s)")
    parser.add_argument("--slice", choices=SLICES, default="all", help="test instances: all, those whose target is "
                        "repeated or new, or the last of each session (default: %(default)s)")  # fmt: skip
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help="bootstrap resamples (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling (default: %(default)s)")
    parser.add_argument("--csv", type=Path, help="write all lines, with more digits, to this file")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme significance`` with parsed arguments.

    Raises:
        UserError: an option is impossible, or the runs cannot be compared.
    """
    if args.resamples < FEWEST_RESAMPLES:
        raise UserError(f"--resamples: {args.resamples} are too few for an interval; {FEWEST_RESAMPLES} at least")
    if args.seed < 0:
        raise UserError(f"--seed: must be a whole number of at least 0, not {args.seed}")
    metrics = list(dict.fromkeys(metric_key(name.strip(), "--metrics") for name in args.metrics.split(",")))
    runs = read_runs(args.runs)
    models = group_runs(runs)
    reference = find_reference(models, args.reference)
    ranks = {model.name: [part(one.ranks, args.slice) for one in model.runs] for model in models}
    sessions = len(np.unique(ranks[reference][0].session))
    if sessions < 2:
        raise UserError(f"--slice={args.slice}: {sessions} test session has such an instance, and a test needs two")
    pairs = [(name, reference) for name in ranks if name != reference]
    settings = {"resamples": args.resamples, "seed": args.seed}
    estimates = estimate(ranks, metrics, **settings)
    comparisons = compare(ranks, pairs, metrics, **settings)
    text = [caption(runs[0].result["protocol"]), method(args, len(comparisons))]
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


def part(ranks: Ranks, name: str) -> Ranks:
    """The instances of one slice."""
    return ranks.select(slice_masks(ranks)[name])


def method(args: argparse.Namespace, n_comparisons: int) -> str:
    """How the figures came about, in words."""
    instances = {
        "all": "all test instances",
        "repeat": "instances whose target was clicked earlier in its session",
        "new": "instances whose target is new to its session",
        "last_click": "the last instance of each session",
    }[args.slice]
    text = (
        f"{instances}; {CONFIDENCE:.0%} percentile intervals from {args.resamples:,} bootstrap resamples of whole "
        f"sessions (seed {args.seed}); figures in percent"
    )
    if not n_comparisons:
        return text
    return (
        f"{text}, differences in points with two-sided p values from the same resamples, adjusted by Holm for "
        f"{n_comparisons} comparisons; effect = difference in standard deviations of the sessions' differences"
    )


ESTIMATE_HEAD = ("model", "metric", "mean", "95 % interval", "seeds", "± over seeds", "tied targets", "sessions")
COMPARISON_HEAD = (
    *("model − reference", "metric", "difference", "95 % interval", "p", "Holm p", "effect"),
    *("equal sessions", "sessions"),
)


def estimate_cells(line: Estimate) -> list[str]:
    return [
        line.model,
        shown_name(line.metric),
        f"{100 * line.value:.2f}",
        f"{100 * line.low:.2f} .. {100 * line.high:.2f}",
        str(line.seeds),
        "-" if np.isnan(line.spread) else f"{100 * line.spread:.2f}",
        f"{100 * line.tie_share:.2f}",
        f"{line.sessions:,}",
    ]


def comparison_cells(line: Comparison) -> list[str]:
    return [
        f"{line.model} − {line.reference}",
        shown_name(line.metric),
        f"{100 * line.difference:+.2f}",
        f"{100 * line.low:+.2f} .. {100 * line.high:+.2f}",
        f"{line.p:.4f}",
        f"{line.p_holm:.4f}",
        f"{line.effect:+.3f}",
        f"{100 * line.equal_sessions:.1f}",
        f"{line.sessions:,}",
    ]


def csv_rows(estimates: Sequence[Estimate], comparisons: Sequence[Comparison]) -> list[list]:
    """Both kinds of lines under one head: a line without a reference is a model's own metric, in percent."""
    rows = []
    for line in estimates:
        spread = "" if np.isnan(line.spread) else 100 * line.spread
        points = [100 * line.value, 100 * line.low, 100 * line.high]
        rows.append([line.model, "", line.metric, *points, "", "", "", "", line.sessions, line.seeds, spread])
    for line in comparisons:
        points = [100 * line.difference, 100 * line.low, 100 * line.high]
        tests = [line.p, line.p_holm, line.effect, line.equal_sessions]
        rows.append([line.model, line.reference, line.metric, *points, *tests, line.sessions, "", ""])
    return rows
