"""What a comparison found, in a few sentences and as the table of the ranking."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from html import escape

from recbole_tme.evaluation.summary import shown_name
from recbole_tme.report import sheets
from recbole_tme.report.looks import Looks
from recbole_tme.report.markup import note, scrolling
from recbole_tme.report.rivals import LEVEL, Leaders
from recbole_tme.report.section import METRICS, RANKED_BY, TESTED, Section

# The metrics that are tested come first: on a phone they are all there is room for.
COLUMNS = (*reversed(TESTED), *(name for name in reversed(METRICS) if name not in TESTED))
# Names in a sentence, before the others are counted.
NAMED = 4


def verdict(section: Section, looks: Looks) -> str:
    """Who is best by each tested metric, who may be as good, and how the reference does."""
    entries = [_best(section, looks, section.leaders[metric]) for metric in reversed(TESTED)]
    reference = _against_reference(section)
    return f'<ul class="verdict">{"".join(entries)}</ul>{f"<p>{escape(reference)}</p>" if reference else ""}'


def _best(section: Section, looks: Looks, found: Leaders) -> str:
    model = next(model for model in section.models if model.name == found.best)
    line = model.estimates[found.metric]
    low, high = sheets.possible(line.low, line.high)
    return (
        f"<li>Best by <b>{shown_name(found.metric)}</b>: {looks[found.best].chip} <b>{100 * line.value:.2f} %</b> "
        f"<span class=quiet>({100 * low:.2f} to {100 * high:.2f})</span><br>{escape(_others(found))}</li>"
    )


def _others(found: Leaders) -> str:
    said = []
    if found.told:
        every = found.told > 1 and not found.same and not found.untested
        count = f"{'all ' * every}{found.told} other model{'s' * (found.told > 1)}"
        said.append(f"significantly better than {count}")
    if found.same:
        said.append(f"not different from it: {listed(found.same)}")
    if found.untested:
        said.append(f"not tested (too few seeds): {listed(found.untested)}")
    text = "; ".join(said) or "there is no other model"
    return f"{text[0].upper()}{text[1:]}."


def _against_reference(section: Section) -> str:
    if section.reference == section.models[0].name or not section.comparisons:
        return ""
    lines = [line for line in section.comparisons if line.metric == RANKED_BY]
    tested = [line for line in lines if not math.isnan(line.p_holm)]
    better = sum(line.p_holm < LEVEL and line.difference > 0 for line in tested)
    worse = sum(line.p_holm < LEVEL and line.difference < 0 for line in tested)
    parts = [f"{better} better", f"{worse} worse", f"{len(tested) - better - worse} not different"]
    if len(tested) < len(lines):
        parts.append(f"{len(lines) - len(tested)} not tested")
    return f"Against the reference {section.reference}, by {shown_name(RANKED_BY)}: {', '.join(parts)}."


def listed(names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    more = len(names) - NAMED
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:NAMED])} and {more} more"


def ranking_table(section: Section, looks: Looks) -> str:
    """The ranking, with the best of each column and what is not told from it marked."""
    failed = Counter(one["model"] for one in section.failures)
    ties = any(model.estimates[RANKED_BY].tie_share for model in section.models)
    rows = []
    for model in section.models:
        cells = [_figure(section, model, metric) for metric in COLUMNS]
        cells.append(f"<td>{sheets.seeds(model, failed)}</td>")
        if ties:
            cells.append(f"<td>{sheets.percent(model.estimates[RANKED_BY].tie_share)}</td>")
        look = looks[model.name]
        marked = " class=reference" * look.is_reference
        rows.append(f'<tr{marked}><th scope="row" class="word">{look.numbered}</th>{"".join(cells)}</tr>')
    nothing = f"<td>{sheets.NOTHING}</td>"
    for name, count in failed.items():
        empty = nothing * len(COLUMNS) + f"<td>{count} failed</td>" + nothing * ties
        rows.append(f'<tr><th scope="row" class="word">{escape(name)}</th>{empty}</tr>')
    heads = [*map(shown_name, COLUMNS), "seeds", *["tied targets"] * ties]
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    table = (
        f'<table class="ranking" data-title="Ranking"><thead><tr><th scope="col" class="word">model</th>{head}</tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table>"
    )
    return scrolling(table, "Ranking") + note(_how_to_read(section, ties))


def _figure(section: Section, model, metric: str) -> str:
    line, found = model.estimates[metric], section.leaders[metric]
    kind, mark, words = "", "", ""
    if model.name == found.best:
        kind, words = ' class="best"', "best"
    elif model.name in found.same:
        kind, mark, words = ' class="same"', "≈ ", "not different from the best"
    below = ""
    if metric in TESTED and not math.isnan(line.low):
        low, high = sheets.possible(line.low, line.high)
        below = f"<small>{100 * low:.2f}–{100 * high:.2f}</small>"
    elif not math.isnan(line.spread):
        below = f"<small>± {100 * line.spread:.2f}</small>"
    title = f' title="{words}"' if words else ""
    marked = f'<span class="sign">{mark}</span>' if mark else ""
    return f"<td{kind}{title}>{marked}{sheets.percent(line.value)}{below}</td>"


def _how_to_read(section: Section, ties: bool) -> str:
    parts = [
        f"Ranked by {shown_name(RANKED_BY)}; per cent, with 95 % intervals below the first two and ± the standard "
        "deviation over seeds below the others",
        "bold: best of its column",
    ]
    if any(found.same for found in section.leaders.values()):
        parts.append(f"≈: not different from the best (Holm p of at least {LEVEL:.2f} within the column)")
    if any(found.untested for found in section.leaders.values()):
        parts.append("a trained model with one seed has no p value and no mark")
    if any(model.seed_independent for model in section.models):
        parts.append("* the seed changes nothing in this model")
    if ties:
        parts.append("tied targets: share of test instances whose target scores exactly as another item")
    if sheets.wide(section):
        parts.append(sheets.wide(section))
    return "; ".join(parts)
