"""Single test sessions on the page, ordered and to be chosen by how the models did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape

from recbole_tme.report.examples import KINDS, TOP, Example, examples, in_order, outcome, shown_rank
from recbole_tme.report.looks import Looks
from recbole_tme.report.markup import note
from recbole_tme.report.section import Section


def examples_block(section: Section, looks: Looks) -> str:
    """All sessions that the runs show, folded; nothing where they show none."""
    best = section.models[0].name
    entries = in_order(examples(section), best)
    if not entries:
        return ""
    counts = Counter(kind for kind, _ in entries)
    names = {kind: text.format(best=best) for kind, text in KINDS.items() if kind in counts}
    # A script makes buttons of these; where it does not run they say what there is.
    choices = "".join(f'<li data-kind="{kind}">{escape(text)}: {counts[kind]}</li>' for kind, text in names.items())
    blocks = "\n".join(_block(kind, names[kind], example, best, looks) for kind, example in entries)
    text = (
        f"The same test instances for every model. Won: {best} has the item clicked next in its first {TOP}, and "
        "most of the other models do not"
    )
    return f'{note(text)}<ul class="kinds">{choices}</ul>\n<div class="examples">{blocks}</div>'


def _block(kind: str, text: str, example: Example, best: str, looks: Looks) -> str:
    session = "".join(f"<li>{escape(name)}</li>" for name in example.session)
    rows = "".join(
        f'<tr><th scope="row" class="word">{looks[answer.model].chip}</th><td>{shown_rank(answer.rank)}</td>'
        f'<td class="long">{_recommended(answer.recommended, example.target)}</td></tr>'
        for answer in example.answers
    )
    clicks = len(example.session)
    return (
        f'<details class="example" data-kind="{kind}"><summary>{clicks} click{"s" * (clicks > 1)}, then '
        f'<b>{escape(example.target)}</b> <span class="kind {kind}">{escape(text)}</span> '
        f'<span class="ranks">{escape(outcome(example, best))}</span></summary>\n'
        f'<p class="note">Clicked:</p><ol class="items">{session}</ol>\n'
        f'<div class="scroll" tabindex="0" role="group" aria-label="recommended after test instance '
        f'{example.instance}"><table class="plain"><thead><tr><th scope="col" class="word">model</th>'
        f'<th scope="col">rank</th><th scope="col" class="word">recommended</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
    )


def _recommended(names: Sequence[str], target: str) -> str:
    """A list of items with the target marked."""
    items = [f"<mark>{escape(name)}</mark>" if name == target else escape(name) for name in names]
    return f'<ol class="items">{"".join(f"<li>{item}</li>" for item in items)}</ol>'
