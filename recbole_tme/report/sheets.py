"""The tables of a comparison as text: made once, set in Markdown, LaTeX and HTML alike."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from recbole_tme.evaluation.significance import CONFIDENCE, RESAMPLES, Estimate, untested
from recbole_tme.evaluation.summary import shown_name, shown_p
from recbole_tme.report.axes import with_sign
from recbole_tme.report.section import METRICS, RANKED_BY, TESTED, Model, Section
from recbole_tme.report.slices import FEWEST_SESSIONS, LAST_CLICK, POPULARITY_CLASSES, SLICE_RESAMPLES, SliceGroup

NOTHING = "-"
NO_TIES = "0.00"
METHODS = (
    f"over seeds and sessions by a two-level analysis of variance with Student's t, over sessions alone by "
    f"{RESAMPLES:,} resamples of whole sessions"
)


@dataclass(frozen=True)
class Sheet:
    """A table.

    Attributes:
        key: short name, such as "ranking".
        title: what stands above it.
        head: the columns' names.
        rows: cells as text; the first ``left`` columns are words, the others figures.
        note: how to read it.
        left: see ``rows``.
    """

    key: str
    title: str
    head: list[str]
    rows: list[list[str]]
    note: str = ""
    left: int = 1


def sheets(section: Section) -> list[Sheet]:
    """All tables of a section; those without a row are left out."""
    made = [
        ranking(section),
        intervals(section),
        differences(section),
        *(slice_sheet(section, group) for group in section.slices),
        cost_sheet(section),
        beyond_sheet(section),
        failure_sheet(section),
    ]
    return [without_empty(sheet) for sheet in made if sheet.rows]


def without_empty(sheet: Sheet) -> Sheet:
    """A table without the columns of figures in which no row says anything."""
    kept = [
        i
        for i in range(len(sheet.head))
        if i < sheet.left or any(row[i] not in ("", NOTHING, NO_TIES) for row in sheet.rows)
    ]
    rows = [[row[i] for i in kept] for row in sheet.rows]
    return replace(sheet, head=[sheet.head[i] for i in kept], rows=rows)


def same_in_all(rows: Sequence[Sequence[str]], column: int) -> str:
    """What a column says where it says the same in all of several rows; else nothing."""
    found = {row[column] for row in rows}
    return found.pop() if len(found) == 1 and len(rows) > 1 else ""


def ranking(section: Section) -> Sheet:
    """Means over seeds, best model first, then the models of which no run gave a result."""
    failed = Counter(one["model"] for one in section.failures)
    rows = []
    for place, model in enumerate(section.models, 1):
        cells = [mean_and_spread(model.estimates[metric]) for metric in METRICS]
        cells.append(percent(model.estimates[RANKED_BY].tie_share))
        rows.append([str(place), model.name, seeds(model, failed), *cells])
    for name, count in failed.items():
        rows.append([NOTHING, name, f"{count} failed", *[NOTHING] * (len(METRICS) + 1)])
    note = (
        f"Ranked by {shown_name(RANKED_BY)}; percent; ± is the standard deviation over seeds; tied targets is the "
        "share of test instances whose target scores exactly as another item"
    )
    if any(model.seed_independent for model in section.models):
        note += "; * the seed changes nothing in this model"
    return Sheet(
        "ranking", "Ranking", ["#", "model", "seeds", *map(shown_name, METRICS), "tied targets"], rows, note, 2
    )


def intervals(section: Section) -> Sheet:
    """Intervals of the metrics, over all instances and over the last click of each session."""
    kinds = section.slices[0].slices
    last = [part for part in kinds if part.name == LAST_CLICK]
    head = ["model"]
    for name in ("", *["last click "] * len(last)):
        head += [f"{name}{shown_name(metric)}" for metric in TESTED]
    head.append("over")
    rows = [
        [
            model.name,
            *(with_interval(model.estimates[metric]) for metric in TESTED),
            *(with_interval(part.estimates[model.name, metric]) for part in last for metric in TESTED),
            model.estimates[RANKED_BY].over,
        ]
        for model in section.models
    ]
    note = (
        f"{CONFIDENCE:.0%} intervals; over: what varies in them; {METHODS} (last click {SLICE_RESAMPLES:,} resamples); "
        "last click: one instance per session, its last"
    )
    note = "; ".join(filter(None, [note, wide(section)]))
    return Sheet("intervals", "Intervals", head, rows, note)


def differences(section: Section) -> Sheet:
    """Each model against the reference."""
    rows = [
        [
            line.model,
            shown_name(line.metric),
            with_sign(100 * line.difference),
            " .. ".join(with_sign(100 * end) for end in possible(line.low, line.high, -1.0)),
            line.over,
            shown_p(line.p),
            shown_p(line.p_holm),
            with_sign(line.effect),
            percent(line.equal_sessions),
        ]
        for line in section.comparisons
    ]
    head = ["model", "metric", "difference", f"{CONFIDENCE:.0%} interval", "over", "p", "Holm p", "effect"]
    head.append("equal sessions")
    note = (
        f"Model minus {section.reference} in points, on the same test sessions; over: what varies in the interval; "
        f"{METHODS}; Holm p is adjusted for the comparisons with a p value, "
        f"{sum(not math.isnan(line.p) for line in section.comparisons)} of these {len(rows)}; effect is the difference "
        "in standard deviations of the sessions' differences; equal sessions (%) are those on which both do equally"
    )
    advice = untested(section.comparisons)
    if advice:
        note += f"; {advice}"
    return Sheet("differences", f"Differences to {section.reference}", head, rows, note, 2)


def slice_sheet(section: Section, group: SliceGroup) -> Sheet:
    """A cut of the test set, a column per part, a row per metric and model; no row where a part is all there is."""
    # The table of intervals has the last clicks, the ranking has all instances.
    parts = [part for part in group.slices if part.name != LAST_CLICK]
    if len(parts) < 2:
        return Sheet(group.key, f"By {group.title}", [], [])
    rows = [
        ["instances", "", *(f"{part.instances:,}" for part in parts)],
        ["sessions", "", *(f"{part.sessions:,}" for part in parts)],
    ]
    for metric in TESTED:
        for model in section.models:
            cells = [with_interval(part.estimates[model.name, metric]) for part in parts]
            rows.append([model.name, shown_name(metric), *cells])
    head = ["model", "metric", *(part.name for part in parts)]
    note = f"Percent; intervals as in the table of all instances, with at least {FEWEST_SESSIONS} sessions"
    if group.key == "popularity":
        note += f"; each class of items clicked in training has about 1/{POPULARITY_CLASSES} of all clicks there"
    return Sheet(group.key, f"By {group.title}", head, rows, note, 2)


def cost_sheet(section: Section) -> Sheet:
    """What the models cost, and what choosing their settings did."""
    rows = [
        [
            model.name,
            "none" if model.training_free else number(model.costs.parameters, ",.0f"),
            number(model.costs.epoch_seconds, ",.1f"),
            number(model.costs.query_ms, ",.2f"),
            number(model.costs.peak_memory_mb, ",.0f"),
            tuning(model.tuning),
            model.costs.device or NOTHING,
        ]
        for model in section.models
    ]
    head = ["model", "parameters", "s per epoch", "ms per query", "peak MB", "tuning", "measured on"]
    note = "Means over seeds; ms per query: median time to score the catalogue for one session; peak MB of the process"
    device = same_in_all(rows, -1)
    if device and device != NOTHING:
        note += f"; all measured on {device}"
        head, rows = head[:-1], [row[:-1] for row in rows]
    return Sheet("costs", "Costs", head, rows, note)


def beyond_sheet(section: Section) -> Sheet:
    """What kind of items the models recommend."""
    rows = [
        [
            model.name,
            percent(model.beyond["coverage"]),
            number(model.beyond["gini"], ".3f"),
            percent(model.beyond["popularity"]),
            percent(model.beyond["target_popularity"]),
        ]
        for model in section.models
        if any(value is not None for value in model.beyond.values())
    ]
    note = (
        "Top-20 lists of the test set; coverage: share of the catalogue in at least one list (%); Gini of how often "
        "items are recommended; popularity: mean percentile of the items by clicks in training (100 = most clicked)"
    )
    head = ["model", "coverage", "Gini", "popularity", "targets' popularity"]
    of_targets = same_in_all(rows, -1)
    if of_targets:
        note += f"; that of the targets is {of_targets}"
        head, rows = head[:-1], [row[:-1] for row in rows]
    return Sheet("beyond", "Beyond accuracy", head, rows, note)


def failure_sheet(section: Section) -> Sheet:
    """The runs that gave no result, with the reason."""
    rows = [
        [str(one.get(key) if one.get(key) is not None else NOTHING) for key in ("model", "seed", "reason", "log")]
        for one in section.failures
    ]
    return Sheet("failures", "Failed runs", ["model", "seed", "reason", "log"], rows, left=4)


def seeds(model: Model, failed: Counter) -> str:
    """How many seeds a model's figures are the mean of, and how many of its runs gave none; those are used up."""
    count = failed.pop(model.name, 0) or failed.pop(model.model, 0)
    return f"{len(model.seeds)}{'*' * model.seed_independent}{f' ({count} failed)' * bool(count)}"


def tuning(study: Mapping) -> str:
    """A tuning budget in words, and what of it was used."""
    known = {"trials", "seconds"} <= set(study)
    used = f"used {study['trials']} trials, {study['seconds']:,.0f} s" if known else ""
    return "; ".join(filter(None, [study.get("budget"), used])) or NOTHING


def mean_and_spread(line: Estimate) -> str:
    """``51.19 ± 0.12`` in percent; without a spread for one seed."""
    text = percent(line.value)
    return text if math.isnan(line.spread) else f"{text} ± {100 * line.spread:.2f}"


def with_interval(line: Estimate) -> str:
    """``51.19 (49.50 .. 52.80)`` in percent."""
    text = percent(line.value)
    if math.isnan(line.low):
        return text
    low, high = possible(line.low, line.high)
    return f"{text} ({100 * low:.2f} .. {100 * high:.2f})"


def possible(low: float, high: float, least: float = 0.0) -> tuple[float, float]:
    """An interval as far as its figures are possible: from ``least``, 0 or -1 for a difference, to 1."""
    return max(least, low), min(1.0, high)


def wide(section: Section) -> str:
    """Why intervals of models with two seeds are wide, and what to do; empty where no model has just two."""
    names = [model.name for model in section.models if len(model.seeds) == 2 and not model.seed_independent]
    if not names:
        return ""
    who = ", ".join(names) if len(names) <= 3 else f"the {len(names)} models with two seeds"
    text = (
        f"intervals of {who} are wide because they hold for other seeds too, and two seeds say little of how seeds "
        "differ; with three they are often several times narrower"
    )
    ends = [end for model in section.models for line in model.estimates.values() for end in (line.low, line.high)]
    return (
        f"{text}; ends below 0 or above 100 % are impossible and are cut off"
        if min(ends) < 0 or max(ends) > 1
        else text
    )


def percent(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.2f}"


def number(value: float | None, form: str) -> str:
    return NOTHING if value is None else format(value, form)
