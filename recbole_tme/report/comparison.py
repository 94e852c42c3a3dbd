"""``recbole-tme report``: finished runs compared, as tables for papers and as one page to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from recbole_tme.errors import UserError
from recbole_tme.evaluation.significance import untested
from recbole_tme.evaluation.summary import shown_name, shown_p
from recbole_tme.report import latex, tidy
from recbole_tme.report.axes import with_sign
from recbole_tme.report.evaluated import read_by_dataset
from recbole_tme.report.page import page
from recbole_tme.report.section import TESTED, Section, assemble
from recbole_tme.report.sheets import sheets, with_interval
from recbole_tme.report.tables import caption
from recbole_tme.utils import tabular
from recbole_tme.utils.files import write_atomically, writing
from recbole_tme.utils.terminal import columns as terminal_width
from recbole_tme.utils.terminal import fold


def write_report(
    directories: Sequence[Path],
    out: Path,
    *,
    reference: str | None = None,
    failures: Sequence[Mapping] = (),
    plan: Mapping | None = None,
    title: str | None = None,
) -> list[Section]:
    """Compare finished runs: write ``comparison.csv``, ``.md``, ``.tex`` and ``report.html``.

    The same runs give the same bytes.

    Args:
        directories: run directories, or folders of them.
        out: folder to write to, made where it is missing.
        reference: what the others are compared with, a model's name or one of its run directories; default the best.
        failures: runs that gave no result, each with model, seed, reason and log.
        plan: how the runs came about: ``command`` (a line), ``tuning`` (``study.json`` by model); both optional.
        title: of the page; default the data sets.

    Returns:
        What it says, a section per data set.

    Raises:
        UserError: no run has finished, runs of one data set cannot be compared, the reference is not one of the models,
            a run's files are damaged, or the folder cannot be written to.
    """
    plan = plan or {}
    runs = read_by_dataset(directories)
    if not runs:
        raise UserError("there is no finished run to report on; see the runs' log.txt for what stopped them")
    sections = [assemble(part, reference, failures, plan) for _, part in sorted(runs.items())]
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("comparison.csv", tidy.csv_text(sections)),
        ("comparison.md", markdown(sections)),
        ("comparison.tex", tex(sections)),
        ("report.html", page(sections, plan, title)),
    ):
        write_atomically(out / name, text.encode())
    return sections


def ranking(sections: Sequence[Section]) -> str:
    """Each section's ranking for a terminal."""
    return "\n\n".join(map(for_terminal, sections))


def written_to(out: Path) -> str:
    """What :func:`write_report` wrote, for a terminal."""
    return f"written to {out}\n  report.html, comparison.csv, comparison.md, comparison.tex"


def for_terminal(section: Section) -> str:
    """A table per metric with intervals and tests, narrow enough for a terminal, and the runs that failed."""
    protocol = section.protocol
    head = [tabular.printable(f"{protocol.dataset} (protocol {protocol.fingerprint})")]
    parts = ["\n".join([*head, *(line for text in protocol.lines() for line in fold(text, "  "))])]
    parts += [_one_metric(section, metric) for metric in TESTED]
    if advice := untested(section.comparisons):
        parts.append("\n".join(fold(advice, "  ")))
    for one in section.failures:
        parts.append(tabular.printable(f"failed: {one['model']}, seed {one['seed']}: {one['reason']} ({one['log']})"))
    return "\n\n".join(parts)


def _one_metric(section: Section, metric: str) -> str:
    """The ranking by one metric."""
    tests = {line.model: line for line in section.comparisons if line.metric == metric}
    rows = []
    for model in sorted(section.models, key=lambda model: -model.estimates[metric].value):
        line, own = tests.get(model.name), model.estimates[metric]
        against = [with_sign(100 * line.difference), shown_p(line.p_holm)] if line else ["reference", ""]
        rows.append([model.name, str(len(model.seeds)), with_interval(own), *against])
    head = [shown_name(metric), "seeds", "with 95 % interval", "difference", "Holm p"]
    # What a long name needs beyond its column goes to lines below it.
    room = terminal_width() - sum(max(len(row[i]) for row in (head, *rows)) + 2 for i in range(1, len(head)))
    lines = []
    for name, *cells in rows:
        first, *rest = fold(name, "  ", max(room, 12))
        lines += [[first, *cells], *([more, *[""] * len(cells)] for more in rest)]
    return tabular.aligned(head, lines)


def markdown(sections: Sequence[Section]) -> str:
    """All tables of all sections."""
    parts = []
    for section in sections:
        parts.append(caption(section.protocol))
        for sheet in sheets(section):
            parts.append(f"**{sheet.title}**" + (f". {sheet.note}." if sheet.note else ""))
            parts.append(tabular.markdown(sheet.head, sheet.rows, sheet.left))
    return "\n\n".join(parts) + "\n"


def tex(sections: Sequence[Section]) -> str:
    """All tables of all sections, for a document that uses booktabs and graphicx."""
    parts = [r"% \input this file in a document with \usepackage{booktabs,graphicx}."]
    for section in sections:
        dataset = section.protocol.dataset
        source = f"{dataset}, protocol {section.protocol.fingerprint}"
        parts += [latex.table(sheet, f"tab:{dataset}-{sheet.key}", source) for sheet in sheets(section)]
    return "\n\n".join(parts) + "\n"
