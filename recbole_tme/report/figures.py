"""The charts of a comparison, each with its figures as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from recbole_tme.evaluation.summary import shown_name
from recbole_tme.report.charts import Axes, Point, Series, line_chart, pareto, scatter
from recbole_tme.report.looks import Looks
from recbole_tme.report.section import RANKED_BY, TESTED, Model, Section
from recbole_tme.report.sheets import NOTHING, Sheet, number, with_interval
from recbole_tme.report.slices import SliceGroup

# More lines than these are hard to tell apart; a reader chooses others by their names.
MOST_LINES = 6
COSTS = (
    ("epoch_seconds", "seconds per epoch of training", ",.1f", "s"),
    ("query_ms", "milliseconds per query", ",.2f", "ms"),
)


@dataclass(frozen=True)
class Figure:
    """A chart.

    Attributes:
        caption: what it shows, in sentences without the last full stop.
        svg: the drawing.
        names: models it shows, in the order of its key.
        on: those that are seen until a reader chooses others; all where nothing can be chosen.
        table: the same figures; ``None`` where a table of the report has them all.
    """

    caption: str
    svg: str
    names: list[str]
    on: list[str]
    table: Sheet | None = None


def slice_figures(section: Section, looks: Looks, group: SliceGroup) -> list[Figure]:
    """How the models do along the slices of an ordered cut."""
    if not group.ordered or len(group.slices) < 2:
        return []
    made = []
    names, parts = [model.name for model in section.models], [part.name for part in group.slices]
    for metric in reversed(TESTED):
        series = []
        for name in names:
            line = []
            for i, part in enumerate(group.slices):
                found = part.estimates[name, metric]
                known = not math.isnan(found.low)
                ends = (100 * max(0.0, found.low), 100 * min(1.0, found.high)) if known else (None, None)
                said = f"{name}\n{part.name}\n{with_interval(found)} %"
                line.append(Point(float(i), 100 * found.value, said, *ends))
            series.append(Series(looks[name], [line]))
        label = f"{shown_name(metric)} (%)"
        alt = f"{label} by {group.title} ({', '.join(parts)}): the table has all figures"
        on = leading(section, section.models)
        svg = line_chart(series, Axes(group.title, label, parts, zero=True), alt, on)
        made.append(Figure(f"{label} by {group.title}", svg, names, on))
    return made


def training_figures(section: Section, looks: Looks) -> list[Figure]:
    """Validation metric and training loss by epoch, of the models that train for more than one."""
    trained = [model for model in section.models if any(len(_epochs(h, "epoch")) > 1 for h in model.histories)]
    made = []
    metric = shown_name(RANKED_BY)
    wanted = (
        (f"valid_{RANKED_BY}", f"{metric} on validation (%)", 100, " %"),
        ("loss_recommendation", "Recommendation loss in training", 1, ""),
    )
    for column, label, factor, unit in wanted:
        models = [model for model in trained if any(_epochs(h, column) for h in model.histories)]
        if not models:
            continue
        runs = [
            (model.name, seed, [(epoch, factor * y) for epoch, y in _epochs(history, column)])
            for model in models
            for seed, history in zip(model.seeds, model.histories)
        ]
        series = []
        for model in models:
            lines = [
                [Point(x, y, f"{name}, seed {seed}\nepoch {x:.0f}\n{y:.3f}{unit}") for x, y in line]
                for name, seed, line in runs
                if name == model.name and line
            ]
            series.append(Series(looks[model.name], lines))
        by_run = [(f"{name}, seed {seed}", dict(line)) for name, seed, line in runs]
        epochs = sorted({epoch for _, values in by_run for epoch in values})
        rows = [[f"{epoch:.0f}", *(number(values.get(epoch), ".3f") for _, values in by_run)] for epoch in epochs]
        table = Sheet("curve", label, ["epoch", *(name for name, _ in by_run)], rows)
        alt = f"{label} by epoch, a line per run: the table below has all figures"
        on = leading(section, models)
        svg = line_chart(series, Axes("epoch", label, whole=True), alt, on)
        made.append(Figure(f"{label} by epoch, a line per seed", svg, [model.name for model in models], on, table))
    return made


def cost_figures(section: Section, looks: Looks) -> list[Figure]:
    """The metric that ranks against each cost that at least two models have."""
    made = []
    label = f"{shown_name(RANKED_BY)} (%)"
    for key, cost, form, unit in COSTS:
        known = [model for model in section.models if getattr(model.costs, key)]
        if len(known) < 2:
            continue
        points = []
        for model in known:
            x, y = getattr(model.costs, key), 100 * model.estimates[RANKED_BY].value
            points.append(Point(x, y, f"{model.name}\n{x:{form}} {unit}\n{y:.2f} %"))
        front = pareto(points)
        alt = f"{label} against {cost}: {'; '.join(f'{m.name} {p.x:{form}}, {p.y:.2f}' for m, p in zip(known, points))}"
        names = [model.name for model in known]
        caption = (
            f"{label} against {cost}, on a log scale; numbers are places in the ranking. On the line, where no model "
            f"is both cheaper and better: {', '.join(names[i] for i in front)}"
        )
        svg = scatter([(looks[n], point) for n, point in zip(names, points)], front, cost, label, alt)
        made.append(Figure(caption, svg, names, names))
    return made


def spectrum_figure(section: Section, looks: Looks) -> list[Figure]:
    """The singular values of the models' item tables."""
    known = [model for model in section.models if len(model.spectrum) > 1]
    if not known:
        return []
    series = [
        Series(
            looks[model.name],
            [
                [
                    Point(float(k), value, f"{model.name}\nk = {k}\n{value:.4f}")
                    for k, value in enumerate(model.spectrum, 1)
                ]
            ],
        )
        for model in known
    ]
    longest = max(len(model.spectrum) for model in known)
    rows = [
        [str(k + 1), *(f"{m.spectrum[k]:.4f}" if k < len(m.spectrum) else NOTHING for m in known)]
        for k in range(longest)
    ]
    label = "singular value / largest"
    table = Sheet("spectrum", label, ["k", *(model.name for model in known)], rows)
    alt = f"k-th {label} of the item table: the table below has all figures"
    on = leading(section, known)
    svg = line_chart(series, Axes("k", label, zero=True), alt, on)
    caption = (
        "Singular values of the item embedding table over the largest; a table that has collapsed to few directions "
        "falls steeply"
    )
    return [Figure(caption, svg, [model.name for model in known], on, table)]


def leading(section: Section, models: Sequence[Model]) -> list[str]:
    """Names of the best of some models, the reference among them if it is one of them."""
    kept = [model.name for model in models[:MOST_LINES]]
    if section.reference not in kept and any(model.name == section.reference for model in models):
        kept = [*kept[: MOST_LINES - 1], section.reference]
    return kept


def _epochs(history: Sequence[dict], column: str) -> list[tuple[float, float]]:
    """``(epoch from 1, figure)`` of the epochs that select, where the figure is known and finite."""
    rows = [row for row in history if row.get("phase") == "select" and math.isfinite(row.get(column, math.nan))]
    return [(row["epoch"], row[column]) for row in rows]
