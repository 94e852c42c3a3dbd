"""The charts of a comparison, each with its figures as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from recbole_tme.evaluation.summary import shown_name
from recbole_tme.report.charts import Interval, Series, interval_plot, line_chart, scatter
from recbole_tme.report.section import RANKED_BY, TESTED, Model, Section
from recbole_tme.report.sheets import NOTHING, Sheet, number
from recbole_tme.report.slices import SliceGroup

# More lines than these cannot be told apart; the tables have all models.
MOST_LINES = 6
COSTS = (
    ("epoch_seconds", "seconds per epoch of training", ",.1f"),
    ("query_ms", "milliseconds per query", ",.2f"),
)


@dataclass(frozen=True)
class Figure:
    """A chart.

    Attributes:
        caption: what it shows, in a sentence without its full stop.
        svg: the drawing.
        table: the same figures; ``None`` where a table of the report has them all.
    """

    caption: str
    svg: str
    table: Sheet | None = None


def ranking_figures(section: Section) -> list[Figure]:
    """The models' metrics with their intervals."""
    made = []
    for metric in reversed(TESTED):
        lines = [(model.name, model.estimates[metric]) for model in section.models]
        rows = [
            Interval(name, 100 * line.value, 100 * line.low, 100 * line.high, name == section.reference)
            for name, line in lines
        ]
        said = "; ".join(f"{row.name} {row.value:.2f} ({row.low:.2f} to {row.high:.2f})" for row in rows)
        label = f"{shown_name(metric)} (%)"
        made.append(Figure(f"{label} with 95% intervals", interval_plot(rows, label, f"{label}: {said}")))
    return made


def difference_figures(section: Section) -> list[Figure]:
    """The paired differences to the reference with their intervals."""
    made = []
    for metric in reversed(TESTED):
        lines = [line for line in section.comparisons if line.metric == metric]
        rows = [Interval(line.model, 100 * line.difference, 100 * line.low, 100 * line.high) for line in lines]
        if rows:
            said = "; ".join(f"{row.name} {row.value:+.2f} ({row.low:+.2f} to {row.high:+.2f})" for row in rows)
            label = f"{shown_name(metric)} minus that of {section.reference} (points)"
            made.append(Figure(label, interval_plot(rows, "points", f"{label}: {said}", signed=True)))
    return made


def slice_figures(section: Section, group: SliceGroup) -> list[Figure]:
    """How the models do along the slices of an ordered cut."""
    if not group.ordered or len(group.slices) < 2:
        return []
    made = []
    for metric in reversed(TESTED):
        series = []
        for place, model in leading(section, section.models):
            found = [part.estimates[model.name, metric] for part in group.slices]
            points = [(float(i), 100 * line.value) for i, line in enumerate(found)]
            bars = [
                (float(i), 100 * line.low, 100 * line.high) for i, line in enumerate(found) if not math.isnan(line.low)
            ]
            series.append(Series(model.name, place, [points], bars))
        label = f"{shown_name(metric)} (%)"
        alt = f"{label} by {group.title} ({', '.join(part.name for part in group.slices)}): the table has all figures"
        names = [part.name for part in group.slices]
        svg = line_chart(series, group.title, label, alt, categories=names, zero=True)
        made.append(Figure(f"{label} by {group.title}{_leading_only(section.models)}", svg))
    return made


def training_figures(section: Section) -> list[Figure]:
    """Validation metric and training loss by epoch, of the models that train for more than one."""
    trained = [model for model in section.models if any(len(_epochs(h, "epoch")) > 1 for h in model.histories)]
    made = []
    wanted = (
        (f"valid_{RANKED_BY}", f"{shown_name(RANKED_BY)} on validation (%)", 100),
        ("loss_recommendation", "recommendation loss in training", 1),
    )
    for column, label, factor in wanted:
        shown = [model for model in trained if any(_epochs(h, column) for h in model.histories)]
        if not shown:
            continue
        series = [
            Series(model.name, place, [_scaled(line, factor) for h in model.histories if (line := _epochs(h, column))])
            for place, model in leading(section, shown)
        ]
        runs = [
            (f"{model.name}, seed {seed}", dict(_scaled(_epochs(history, column), factor)))
            for model in shown
            for seed, history in zip(model.seeds, model.histories)
        ]
        epochs = sorted({epoch for _, values in runs for epoch in values})
        rows = [[f"{epoch:.0f}", *(number(values.get(epoch), ".3f") for _, values in runs)] for epoch in epochs]
        table = Sheet("curve", label, ["epoch", *(name for name, _ in runs)], rows)
        alt = f"{label} by epoch, a line per run: the table below has all figures"
        caption = f"{label} by epoch, a line per seed{_leading_only(shown)}"
        made.append(Figure(caption, line_chart(series, "epoch", label, alt, whole=True), table))
    return made


def cost_figures(section: Section) -> list[Figure]:
    """The metric that ranks against each cost that at least two models have."""
    made = []
    label = f"{shown_name(RANKED_BY)} (%)"
    for key, cost, form in COSTS:
        points = [
            (model.name, place, getattr(model.costs, key), 100 * model.estimates[RANKED_BY].value)
            for place, model in enumerate(section.models)
            if getattr(model.costs, key)
        ]
        if len(points) > 1:
            said = "; ".join(f"{name} {x:{form}}, {y:.2f}" for name, _, x, y in points)
            alt = f"{label} against {cost}: {said}"
            made.append(Figure(f"{label} against {cost}, on a log scale", scatter(points, cost, label, alt)))
    return made


def spectrum_figure(section: Section) -> list[Figure]:
    """The singular values of the models' item tables."""
    known = [model for model in section.models if len(model.spectrum) > 1]
    if not known:
        return []
    series = [
        Series(model.name, place, [[(float(k), value) for k, value in enumerate(model.spectrum, 1)]])
        for place, model in leading(section, known)
    ]
    longest = max(len(model.spectrum) for model in known)
    rows = [
        [str(k + 1), *(f"{m.spectrum[k]:.4f}" if k < len(m.spectrum) else NOTHING for m in known)]
        for k in range(longest)
    ]
    label = "singular value / largest"
    table = Sheet("spectrum", label, ["k", *(model.name for model in known)], rows)
    svg = line_chart(series, "k", label, f"k-th {label} of the item table: the table below has all figures", zero=True)
    caption = (
        f"Singular values of the item embedding table over the largest{_leading_only(known)}; a table that has "
        f"collapsed to few directions falls steeply"
    )
    return [Figure(caption, svg, table)]


def leading(section: Section, models: Sequence[Model]) -> list[tuple[int, Model]]:
    """The best of some models with their places in the ranking, the reference among them if it is one of them."""
    places = {model.name: place for place, model in enumerate(section.models)}
    kept = list(models[:MOST_LINES])
    missing = [model for model in models[MOST_LINES:] if model.name == section.reference]
    kept = [*kept[: MOST_LINES - len(missing)], *missing]
    return [(places[model.name], model) for model in kept]


def _leading_only(models: Sequence[Model]) -> str:
    return f"; the {MOST_LINES} best models, the table has all" if len(models) > MOST_LINES else ""


def _epochs(history: Sequence[dict], column: str) -> list[tuple[float, float]]:
    """``(epoch from 1, figure)`` of the epochs that select, where the figure is known and finite."""
    rows = [row for row in history if row.get("phase") == "select" and math.isfinite(row.get(column, math.nan))]
    return [(row["epoch"] + 1, row[column]) for row in rows]


def _scaled(line: Sequence[tuple[float, float]], factor: float) -> list[tuple[float, float]]:
    return [(x, factor * y) for x, y in line]
