"""The comparison as one HTML page without scripts, which asks for nothing beyond itself."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template

from recbole_tme.evaluation.summary import shown_name
from recbole_tme.report import figures, sheets
from recbole_tme.report.examples import Example, examples, outcome, shown_rank
from recbole_tme.report.section import RANKED_BY, Section
from recbole_tme.report.sheets import Sheet

TEMPLATE = Path(__file__).parent / "template"
# Cells longer than this may break; figures never do.
LONG_CELL = 60
# An interval stands below its figure: half as wide.
INTERVAL = re.compile(r"^([\d.]+) \(([\d.]+) \.\. ([\d.]+)\)$")
BELOW = r"\1<small>\2–\3</small>"

# Of the parts whose heading is not that of their table.
HEADINGS = {"training": "Training curves", "costs": "Accuracy against cost", "spectrum": "Embedding spectrum"}


def page(sections: Sequence[Section], plan: Mapping, title: str | None) -> str:
    """The whole page.

    Args:
        sections: one per data set.
        plan: as for :func:`~recbole_tme.report.comparison.write_report`.
        title: default the data sets.
    """
    datasets = ", ".join(section.protocol.dataset for section in sections)
    bodies = [section_body(section, f"d{number}", plan) for number, section in enumerate(sections, 1)]
    return Template((TEMPLATE / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(title or f"Session recommendation on {datasets}"),
        style=(TEMPLATE / "page.css").read_text(encoding="utf-8").strip(),
        summary="\n".join(f'<p class="lead">{verdict(section)}</p>' for section in sections),
        navigation=navigation(sections),
        body="\n".join(bodies),
    )


def verdict(section: Section) -> str:
    """The outcome in a sentence."""
    best = section.models[0]
    said = (
        f"{section.protocol.dataset}: {best.name} has the highest {shown_name(RANKED_BY)} of {len(section.models)}, "
        f"{sheets.with_interval(best.estimates[RANKED_BY])} %"
    )
    for line in section.comparisons:
        if section.reference == best.name and line.model == section.models[1].name and line.metric == RANKED_BY:
            said += f", {-100 * line.difference:.2f} points above {line.model}"
            said += " (one seed: no p value)" if math.isnan(line.p) else f" (Holm p {line.p_holm:.4f})"
    return escape(f"{said}.")


def navigation(sections: Sequence[Section]) -> str:
    """Links to the data sets, where there are several."""
    if len(sections) < 2:
        return ""
    links = [
        f'<li><a href="#d{number}">{escape(section.protocol.dataset)}</a></li>'
        for number, section in enumerate(sections, 1)
    ]
    return f'<nav aria-label="Data sets"><ul>{"".join(links)}</ul></nav>'


def section_body(section: Section, key: str, plan: Mapping) -> str:
    """One data set: its protocol, then each part with its charts and tables."""
    by_key = {sheet.key: sheet for sheet in sheets.sheets(section)}
    drawn = {
        "ranking": figures.ranking_figures(section),
        "differences": figures.difference_figures(section),
        **{group.key: figures.slice_figures(section, group) for group in section.slices},
        "training": figures.training_figures(section),
        "costs": figures.cost_figures(section),
        "spectrum": figures.spectrum_figure(section),
    }
    cuts = [group.key for group in section.slices]
    titles = HEADINGS | {key: sheet.title for key, sheet in by_key.items() if key not in HEADINGS}
    parts = []
    for name in ("failures", "ranking", "differences", "intervals", *cuts, "training", "costs", "beyond", "spectrum"):
        content = charts(drawn.get(name, []))
        if name in by_key:
            # Where a chart shows the models at a glance, the long table is folded.
            content += table_with_note(by_key[name], section.reference, folded=name in cuts and bool(content))
        if content:
            parts.append((name, titles[name], content))
    shown = examples(section)
    if shown:
        blocks = "\n".join(example_block(one, section.reference) for one in shown)
        parts.append(("examples", "Sessions and recommendations", blocks))
    links = "".join(f'<li><a href="#{key}-{name}">{escape(heading)}</a></li>' for name, heading, _ in parts)
    blocks = "\n".join(
        f'<section aria-labelledby="{key}-{name}"><h3 id="{key}-{name}">{escape(heading)}</h3>\n{content}</section>'
        for name, heading, content in parts
    )
    return (
        f'<section aria-labelledby="{key}"><h2 id="{key}">{escape(section.protocol.dataset)}</h2>\n'
        f'{facts(section, plan)}\n<nav aria-label="{escape(section.protocol.dataset)}"><ul>{links}</ul></nav>\n'
        f"{blocks}\n</section>"
    )


def facts(section: Section, plan: Mapping) -> str:
    """What a reader has to know before the first figure."""
    protocol = section.protocol
    counts = sorted({len(model.seeds) for model in section.models if not model.seed_independent})
    seeds = " to ".join(map(str, dict.fromkeys([counts[0], counts[-1]]))) if counts else "one"
    tuned = [f"{model.name}: {sheets.tuning(model.tuning)}" for model in section.models if model.tuning]
    rows = [
        ("Protocol", "; ".join(protocol.lines())),
        ("Fingerprint", code(protocol.fingerprint)),
        ("Training", f"{protocol.train_instances:,} instances, and {protocol.valid_instances:,} for validation"),
        ("Seeds", f"{seeds} per model; what varies in an interval stands beside it"),
        ("Reference", escape(section.reference)),
        ("Tuning", escape("; ".join(tuned)) or "no tuning budget is recorded for these runs"),
    ]
    if plan.get("command"):
        rows.append(("Command", code(plan["command"])))
    listed = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in rows)
    commands = [(model.name, command) for model in section.models for command in model.commands]
    if not commands:
        return f"<dl>{listed}</dl>"
    runs = "".join(f"<dt>{escape(name)}</dt><dd>{code(command)}</dd>" for name, command in commands)
    return f"<dl>{listed}</dl>\n<details><summary>Commands of the runs</summary><dl>{runs}</dl></details>"


def charts(drawn: Sequence[figures.Figure]) -> str:
    """Charts side by side where there is room."""
    if not drawn:
        return ""
    blocks = []
    for figure in drawn:
        table = f"\n<details><summary>As a table</summary>{table_block(figure.table)}</details>" if figure.table else ""
        blocks.append(f"<figure><figcaption>{escape(figure.caption)}.</figcaption>\n{figure.svg}{table}</figure>")
    return f'<div class="figures">\n{chr(10).join(blocks)}\n</div>\n'


def table_with_note(sheet: Sheet, reference: str, folded: bool) -> str:
    """A table with its note."""
    note = f'\n<p class="note">{escape(sheet.note)}.</p>' if sheet.note else ""
    block = table_block(sheet, reference) + note
    return f"<details><summary>As a table, with intervals</summary>{block}</details>" if folded else block


def table_block(sheet: Sheet, reference: str = "") -> str:
    """A table that scrolls sideways on its own."""
    head = "".join(f'<th scope="col"{word(i < sheet.left)}>{escape(name)}</th>' for i, name in enumerate(sheet.head))
    rows = []
    name_column = sheet.head.index("model") if "model" in sheet.head else 0
    for cells in sheet.rows:
        marked = ' class="reference"' if cells[name_column] == reference else ""
        rows.append(f"<tr{marked}>{''.join(_cells(cells, sheet.left, name_column))}</tr>")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(sheet.title)}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cells(cells: Sequence[str], left: int, name_column: int) -> Iterable[str]:
    for i, cell in enumerate(cells):
        if i == name_column:
            yield f'<th scope="row"{word(i < left)}>{escape(cell)}</th>'
        elif len(cell) > LONG_CELL:
            yield f'<td class="long">{escape(cell)}</td>'
        else:
            yield f"<td{word(i < left)}>{INTERVAL.sub(BELOW, escape(cell))}</td>"


def example_block(example: Example, reference: str) -> str:
    """A session, its target and the models' lists, folded."""
    session = "".join(f"<li>{escape(name)}</li>" for name in example.session)
    rows = "".join(
        f'<tr><th scope="row" class="word">{escape(answer.model)}</th><td>{shown_rank(answer.rank)}</td>'
        f'<td class="long">{recommended(answer.recommended, example.target)}</td></tr>'
        for answer in example.answers
    )
    clicks = len(example.session)
    return (
        f'<details class="example"><summary>{clicks} click{"s" * (clicks > 1)}, then <b>{escape(example.target)}</b>'
        f' <span class="ranks">{escape(outcome(example, reference))}</span></summary>\n'
        f'<p class="note">Clicked:</p><ol class="items">{session}</ol>\n'
        f'<div class="scroll" tabindex="0" role="region" aria-label="recommended after test instance '
        f'{example.instance}"><table><thead><tr><th scope="col" class="word">model</th><th scope="col">rank</th>'
        f'<th scope="col" class="word">recommended</th></tr></thead><tbody>{rows}</tbody></table></div></details>'
    )


def recommended(names: Sequence[str], target: str) -> str:
    """A list of items with the target marked."""
    items = [f"<mark>{escape(name)}</mark>" if name == target else escape(name) for name in names]
    return f'<ol class="items">{"".join(f"<li>{item}</li>" for item in items)}</ol>'


def word(is_word: bool) -> str:
    return ' class="word"' if is_word else ""


def code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
