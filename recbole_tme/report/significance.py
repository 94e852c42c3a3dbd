"""``recbole-tme significance``: intervals of the models' metrics, and paired differences to one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from recbole_tme.evaluation.metrics import slice_masks
from recbole_tme.evaluation.ranks import Ranks
from recbole_tme.evaluation.significance import (
    CONFIDENCE,
    Comparison,
    Estimate,
)
from recbole_tme.evaluation.summary import shown_name, shown_p

CSV_HEAD = (
    *("model", "reference", "metric", "points", "low", "high", "over", "p", "p_holm", "effect", "equal_sessions"),
    *("sessions", "seeds", "seed_spread"),
)


def part(ranks: Ranks, name: str) -> Ranks:
    """The instances of one slice."""
    return ranks.select(slice_masks(ranks)[name])


def method(instances: str, resamples: int, seed: int, n_tests: int | None) -> str:
    """How the figures came about, in words; ``n_tests`` is the number of p values, None where nothing is compared."""
    shown = {
        "all": "all test instances",
        "repeat": "instances whose target was clicked earlier in its session",
        "new": "instances whose target is new to its session",
        "last_click": "the last instance of each session",
    }[instances]
    text = (
        f"{shown}; {CONFIDENCE:.0%} intervals; over: what varies in them; over seeds and sessions by a two-level "
        f"analysis of variance with Student's t, over sessions alone by {resamples:,} bootstrap resamples of whole "
        f"sessions (seed {seed}); figures in percent"
    )
    if n_tests is None:
        return text
    return (
        f"{text}, differences in points; Holm p is adjusted for the {n_tests} comparisons with a p value; effect = "
        "difference in standard deviations of the sessions' differences"
    )


ESTIMATE_HEAD = (
    "model",
    "metric",
    "mean",
    "95 % interval",
    "over",
    "seeds",
    "± over seeds",
    "tied targets",
    "sessions",
)
COMPARISON_HEAD = (
    *("model − reference", "metric", "difference", "95 % interval", "over", "p", "Holm p", "effect"),
    *("equal sessions", "sessions"),
)


def estimate_cells(line: Estimate) -> list[str]:
    return [
        line.model,
        shown_name(line.metric),
        f"{100 * line.value:.2f}",
        f"{100 * line.low:.2f} .. {100 * line.high:.2f}",
        line.over,
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
        line.over,
        shown_p(line.p),
        shown_p(line.p_holm),
        f"{line.effect:+.3f}",
        f"{100 * line.equal_sessions:.1f}",
        f"{line.sessions:,}",
    ]


def csv_rows(estimates: Sequence[Estimate], comparisons: Sequence[Comparison]) -> list[list[Any]]:
    """Both kinds of lines under one head: a line without a reference is a model's own metric, in percent."""
    rows: list[list[Any]] = []
    for line in estimates:
        spread = "" if np.isnan(line.spread) else 100 * line.spread
        points = [100 * line.value, 100 * line.low, 100 * line.high]
        rows.append(
            [line.model, "", line.metric, *points, line.over, "", "", "", "", line.sessions, line.seeds, spread]
        )
    for pair in comparisons:
        points = [100 * pair.difference, 100 * pair.low, 100 * pair.high]
        p = ["", ""] if np.isnan(pair.p) else [pair.p, pair.p_holm]
        tests = [pair.over, *p, pair.effect, pair.equal_sessions]
        rows.append([pair.model, pair.reference, pair.metric, *points, *tests, pair.sessions, "", ""])
    return rows
