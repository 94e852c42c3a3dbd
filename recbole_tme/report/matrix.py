"""All pairs of models: the matrix of differences, and what a script needs to set two chosen ones side by side."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from html import escape

from recbole_tme.evaluation.summary import shown_name, shown_p
from recbole_tme.report.axes import with_sign
from recbole_tme.report.looks import Looks
from recbole_tme.report.markup import note, scrolling
from recbole_tme.report.rivals import LEVEL, Pair
from recbole_tme.report.section import TESTED, Section
from recbole_tme.report.sheets import possible

# A comparison of two models is told by the table of differences.
FEWEST = 3


def matrices(section: Section, looks: Looks) -> str:
    """A table per tested metric, each model against each."""
    if len(section.models) < FEWEST:
        return ""
    found = {(pair.line.model, pair.line.reference, pair.line.metric): pair for pair in section.pairs}
    tables = "".join(_matrix(section, looks, metric, found) for metric in reversed(TESTED))
    text = (
        "Row minus column in points; heads are places in the ranking. Tinted: different, with a Holm p below "
        f"{LEVEL:.2f} over all pairs of the metric"
    )
    if any(math.isnan(pair.line.p) for pair in section.pairs):
        text += "; in italics: not tested, as a trained model of the two has one seed"
    return f'<div class="matrices">{tables}</div>{note(text)}'


def _matrix(section: Section, looks: Looks, metric: str, found: Mapping[tuple[str, str, str], Pair]) -> str:
    names = [model.name for model in section.models]
    heads = "".join(f'<th scope="col" title="{escape(name)}">{looks[name].place}</th>' for name in names)
    rows = []
    for name in names:
        cells = []
        for other in names:
            if name == other:
                cells.append('<td class="self"></td>')
            elif (name, other, metric) in found:
                cells.append(_cell(found[name, other, metric], 1))
            else:
                cells.append(_cell(found[other, name, metric], -1))
        rows.append(f'<tr><th scope="row" class="word">{looks[name].numbered}</th>{"".join(cells)}</tr>')
    title = f"{shown_name(metric)} of each model minus each other"
    table = (
        f'<table class="matrix" data-title="{title}" data-metric="{metric}"><thead><tr><th scope="col" class="word">'
        f"{shown_name(metric)}</th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
    return scrolling(table, title)


def _cell(pair: Pair, sign: int) -> str:
    line = pair.line
    value = with_sign(100 * sign * line.difference)
    low, high = possible(min(sign * line.low, sign * line.high), max(sign * line.low, sign * line.high), -1.0)
    names = (line.model, line.reference)[::sign]
    kind = "untested" if math.isnan(line.p) else ""
    if line.p_holm < LEVEL and line.difference:
        kind = "up" if sign * line.difference > 0 else "down"
    tested = "no p value: one seed" if math.isnan(line.p) else f"Holm p {shown_p(line.p_holm)}"
    said = f"{names[0]} − {names[1]}\n{value} points\n{with_sign(100 * low)} to {with_sign(100 * high)}, {tested}"
    return (
        f'<td class="{kind}" data-tip="{escape(said)}">{value}</td>'
        if kind
        else (f'<td data-tip="{escape(said)}">{value}</td>')
    )


def pair_data(section: Section) -> str:
    """Everything of all pairs as JSON that may stand in a page."""
    places = {model.name: place for place, model in enumerate(section.models)}
    rows = [
        [
            *(places[pair.line.model], places[pair.line.reference], TESTED.index(pair.line.metric)),
            *(round(100 * end, 3) for end in (pair.line.difference, *possible(pair.line.low, pair.line.high, -1.0))),
            *(None if math.isnan(p) else round(p, 4) for p in (pair.line.p, pair.line.p_holm)),
            *(pair.better, pair.equal, pair.worse, pair.bins),
        ]
        for pair in section.pairs
    ]
    content = {"metrics": [shown_name(metric) for metric in TESTED], "pairs": rows}
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def chooser(section: Section, looks: Looks, key: str) -> str:
    """Two lists to choose models from, and room for what a script tells of them."""
    if len(section.models) < 2:
        return ""
    names = [model.name for model in section.models]
    reference = names.index(section.reference)
    chosen = (0, 1) if reference == 0 else (0, reference)
    lists = ""
    for side, text, place in zip(("first", "second"), ("Compare", "with"), chosen):
        choices = f'<select id="{key}-{side}">{_options(names, looks, place)}</select>'
        lists += f'<label for="{key}-{side}">{text} {choices}</label>'
    return (
        f'<div class="duel" hidden><div class="choose">{lists}</div><div class="outcome" role="status"></div>'
        f'<script type="application/json">{pair_data(section)}</script></div>'
    )


def _options(names: list[str], looks: Looks, chosen: int) -> str:
    return "".join(
        f'<option value="{i}" data-kind="{looks[name].kind}"{" selected" * (i == chosen)}>{looks[name].place} '
        f"{escape(name)}</option>"
        for i, name in enumerate(names)
    )
