"""``recbole-tme significance``: intervals of the models' metrics, and paired differences to one of them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_tme import tabular
from recbole_tme.config import result_settings
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
    same_instances,
)
from recbole_tme.evaluation.summary import distinct_names, protocol_differences, shared_settings, shown_name
from recbole_tme.files import write_atomically
from recbole_tme.report.tables import caption
from recbole_tme.runs import RunDirectory, finished_runs
from recbole_tme.schema import did_you_mean

SLICES = ("all", "repeat", "new", "last_click")
FEWEST_RESAMPLES = 100
CSV_HEAD = (
    *("model", "reference", "metric", "points", "low", "high", "p", "p_holm", "effect", "equal_sessions"),
    *("sessions", "seeds", "seed_spread"),
)


@dataclass(frozen=True)
class Evaluated:
    """A finished run's files that a comparison reads: its directory, ``metrics.json`` and ranks."""

    directory: RunDirectory
    result: dict
    ranks: Ranks


@dataclass(frozen=True)
class ModelRuns:
    """The runs of one model with the same settings, which differ in their seed.

    Attributes:
        name: the model, and the settings that tell it from others of the same model.
        model: the model's name alone.
        runs: one per seed.
    """

    name: str
    model: str
    runs: list[Evaluated]


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


def read_runs(paths: Sequence[Path]) -> list[Evaluated]:
    """The finished runs at or below some paths, all of the same instances by the same protocol.

    Raises:
        UserError: a run has no readable results, or the runs cannot be compared.
    """
    runs = [Evaluated(d, d.read_metrics(), Ranks.load(d.ranks_file)) for d in finished_runs(paths)]
    for other in runs[1:]:
        check_comparable(runs[0], other)
    return runs


def check_comparable(first: Evaluated, other: Evaluated) -> None:
    """Refuse to pair runs that were not evaluated on the same instances by the same protocol.

    Raises:
        UserError: they differ; names both runs and what differs.
    """
    differ = protocol_differences(first.result["protocol"], other.result["protocol"])
    if differ:
        raise UserError(
            f"{other.directory.path} cannot be compared with {first.directory.path}: they differ in "
            f"{', '.join(differ)}; name runs of one protocol"
        )
    if not same_instances(first.ranks, other.ranks):
        raise UserError(
            f"{other.directory.ranks_file} holds other test instances than {first.directory.ranks_file}, or in another "
            f"order; evaluate them again"
        )


def group_runs(runs: Sequence[Evaluated]) -> list[ModelRuns]:
    """Runs by model and settings, in the order given.

    Raises:
        UserError: two runs are of one model, settings and seed.
    """
    groups: dict[str, tuple[dict, dict[int, Evaluated]]] = {}
    every = [result_settings(run.directory.read_config()) for run in runs]
    for run, settings in zip(runs, shared_settings([run.result["model"] for run in runs], every)):
        of_model = json.dumps([run.result["model"], settings], sort_keys=True)
        _, by_seed = groups.setdefault(of_model, (settings, {}))
        twin = by_seed.setdefault(run.result["seed"], run)
        if twin is not run:
            raise UserError(
                f"{run.directory.path} and {twin.directory.path} are runs of one model, settings and seed; "
                f"leave one out"
            )
    models = [next(iter(by_seed.values())).result["model"] for _, by_seed in groups.values()]
    names = distinct_names(models, [settings for settings, _ in groups.values()])
    return [
        ModelRuns(name, model, list(by_seed.values()))
        for name, model, (_, by_seed) in zip(names, models, groups.values())
    ]


def find_reference(models: Sequence[ModelRuns], wanted: str | None) -> str:
    """The name of the model that the others are compared with.

    Raises:
        UserError: no model, or more than one, is meant; names all.
    """
    if wanted is None:
        return models[0].name
    path = Path(wanted).resolve()
    exact = [m.name for m in models if m.name == wanted or any(run.directory.path.resolve() == path for run in m.runs)]
    found = exact or [m.name for m in models if m.model == wanted]
    if len(found) != 1:
        names = [model.name for model in models]
        problem = "is more than one of the models" if found else f"is none of the models{did_you_mean(wanted, names)}"
        raise UserError(f"--reference: {wanted} {problem}; choose among: {'; '.join(names)}")
    return found[0]


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
