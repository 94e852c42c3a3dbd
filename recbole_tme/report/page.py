"""The comparison as one HTML page that asks for nothing beyond itself.

Without scripts it is complete but for what a reader does: sorting, copying, choosing models, setting two side by side.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template

from recbole_tme.evaluation.summary import shown_name, shown_p
from recbole_tme.report import figures, sheets
from recbole_tme.report.about import about_block
from recbole_tme.report.forest import Row, forest
from recbole_tme.report.headline import ranking_table, verdict
from recbole_tme.report.looks import Looks, looks
from recbole_tme.report.markup import figures_block, table_with_note
from recbole_tme.report.matrix import chooser, matrices
from recbole_tme.report.section import TESTED, Section
from recbole_tme.report.shown_examples import examples_block

TEMPLATE = Path(__file__).parent / "template"
STYLES = ("page.css", "tables.css", "charts.css", "print.css")
SCRIPTS = ("base.js", "tables.js", "charts.js", "pairs.js", "examples.js")
# Of the parts whose heading is not that of their table.
HEADINGS = {
    "differences": "Differences to {reference}",
    "pairs": "Two models side by side",
    "training": "Training curves",
    "costs": "Accuracy against cost",
    "spectrum": "Embedding spectrum",
    "examples": "Sessions and recommendations",
    "about": "What was trained",
}
FILES = ("comparison.csv", "comparison.md", "comparison.tex")


def page(sections: Sequence[Section], plan: Mapping, title: str | None) -> str:
    """The whole page.

    Args:
        sections: one per data set.
        plan: as for :func:`~recbole_tme.report.comparison.write_report`.
        title: default the data sets.
    """
    datasets = ", ".join(section.protocol.dataset for section in sections)
    every = looks(sections)
    bodies = [
        section_body(section, found, f"d{number}", plan, len(sections) == 1)
        for number, (section, found) in enumerate(zip(sections, every), 1)
    ]
    script = "\n".join(f"{{\n{_template(name)}\n}}" for name in SCRIPTS)
    script = f'"use strict";\n{script}'
    return Template(_template("page.html")).substitute(
        title=escape(title or f"Session recommendation on {datasets}"),
        style="\n".join(map(_template, STYLES)),
        script=script,
        # No other script of the page runs, whatever the data holds.
        script_hash=base64.b64encode(hashlib.sha256(f"\n{script}\n".encode()).digest()).decode(),
        navigation=navigation(sections),
        body="\n".join(bodies),
    )


def navigation(sections: Sequence[Section]) -> str:
    """Links to the data sets, where there are several."""
    if len(sections) < 2:
        return ""
    links = [
        f'<li><a href="#d{number}">{escape(section.protocol.dataset)}</a></li>'
        for number, section in enumerate(sections, 1)
    ]
    return f'<nav aria-label="Data sets"><ul>{"".join(links)}</ul></nav>'


def section_body(section: Section, of_models: Looks, key: str, plan: Mapping, alone: bool) -> str:
    """One data set: what was found and the ranking, then each further part with its charts and tables."""
    parts = [(name, heading, content) for name, heading, content in _parts(section, of_models, key, plan) if content]
    links = "".join(f'<li><a href="#{key}-{name}">{escape(heading)}</a></li>' for name, heading, _ in parts)
    blocks = "\n".join(
        f'<section aria-labelledby="{key}-{name}"><h3 id="{key}-{name}">{escape(heading)}</h3>\n{content}</section>'
        for name, heading, content in parts
    )
    dataset = escape(section.protocol.dataset)
    # The page's title says it where there is one data set.
    unseen = " class=unseen" * alone
    files = ", ".join(f'<a href="{name}" download>{name}</a>' for name in FILES)
    return (
        f'<section aria-labelledby="{key}"><h2 id="{key}"{unseen}>{dataset}</h2>\n{verdict(section, of_models)}\n'
        f'{ranking_table(section, of_models)}\n<nav aria-label="Parts of {dataset}"><ul>{links}</ul></nav>\n'
        f'{blocks}\n<p class="files">Beside this page: {files}, with all tables and figures.</p></section>'
    )


def _parts(section: Section, of_models: Looks, key: str, plan: Mapping):
    by_key = {sheet.key: sheet for sheet in sheets.sheets(section)}
    titles = {name: sheet.title for name, sheet in by_key.items()} | HEADINGS
    drawn = {
        **{group.key: figures.slice_figures(section, of_models, group) for group in section.slices},
        "training": figures.training_figures(section, of_models),
        "costs": figures.cost_figures(section, of_models),
        "spectrum": figures.spectrum_figure(section, of_models),
    }
    built = {
        "intervals": _forests(section, of_models),
        "differences": _difference_forests(section, of_models),
        "pairs": chooser(section, of_models, f"{key}-pair") + matrices(section, of_models),
        "examples": examples_block(section, of_models),
        "about": about_block(section, of_models, plan),
    }
    cuts = [group.key for group in section.slices]
    order = ("failures", "intervals", "differences", "pairs", *cuts, "training", "costs", "beyond", "spectrum")
    for name in (*order, "examples", "about"):
        charts = built.get(name, "") + figures_block(drawn.get(name, []), of_models)
        table = ""
        if name in by_key:
            # Where a chart shows the models at a glance, the long table is folded.
            table = table_with_note(by_key[name], of_models, folded=bool(charts) and name != "costs")
        yield name, titles.get(name, "").format(reference=section.reference), charts + table


def _forests(section: Section, of_models: Looks) -> str:
    made = []
    for metric in reversed(TESTED):
        rows = []
        for model in section.models:
            line = model.estimates[metric]
            low, high = sheets.possible(line.low, line.high)
            rows.append(Row(of_models[model.name], 100 * line.value, 100 * low, 100 * high))
        made.append((f"{shown_name(metric)} (%) with 95 % intervals", forest(rows, shown_name(metric))))
    return _side_by_side(made)


def _difference_forests(section: Section, of_models: Looks) -> str:
    made = []
    for metric in reversed(TESTED):
        rows = []
        for line in section.comparisons:
            if line.metric == metric:
                low, high = sheets.possible(line.low, line.high, -1.0)
                ends = (100 * line.difference, 100 * low, 100 * high)
                rows.append(Row(of_models[line.model], *ends, shown_p(line.p_holm)))
        if rows:
            caption = f"{shown_name(metric)} minus that of {section.reference}, in points"
            made.append((caption, forest(rows, "points", signed=True, words="Holm p")))
    return _side_by_side(made)


def _side_by_side(made: Sequence[tuple[str, str]]) -> str:
    blocks = "\n".join(f"<figure><figcaption>{escape(text)}.</figcaption>\n{plot}</figure>" for text, plot in made)
    return f'<div class="figures">\n{blocks}\n</div>\n' if made else ""


def _template(name: str) -> str:
    return (TEMPLATE / name).read_text(encoding="utf-8").strip()
