"""Docstrings, which are written for Sphinx, as Markdown."""

from __future__ import annotations

import re
import textwrap

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):`~?([^`]+)`")
_INLINE_MATH = re.compile(r":math:`([^`]+)`")
_MATH = re.compile(r"^\.\. math::\n((?:[ ]{4}.*\n?|\n)+)", re.MULTILINE)
_CODE = re.compile(r"``([^`]+)``")
# The few signs that our docstrings use, so that no script has to draw them.
_SIGNS = {
    r"\delta": "δ", r"\epsilon": "ε", r"\theta": "θ", r"\lambda": "λ", r"\cdot": "·", r"\le": "≤", r"\|": "‖",
    r"\min": "min", r"\max": "max", r"\,": "", r"\;": " ",
}  # fmt: skip
_SECTIONS = re.compile(r"^(?:Args|Attributes|Raises|Returns):$", re.MULTILINE)


def as_markdown(text: str) -> tuple[str, str]:
    """A class's docstring without its sections of arguments, and its source.

    Returns:
        The text as Markdown, and what follows ``Source:`` as one line, empty where there is none.
    """
    text = _CODE.sub(r"`\1`", _SECTIONS.split(text, maxsplit=1)[0])
    text = _ROLE.sub(lambda role: f"`{role[1].rpartition('.')[2]}`", text)
    text = _INLINE_MATH.sub(lambda found: f"`{plain_math(found[1])}`", text)
    text = _MATH.sub(lambda found: f"```text\n{plain_math(textwrap.dedent(found[1]).strip())}\n```\n\n", text)
    paragraphs = [part for part in re.split(r"\n{2,}(?!\s)", text.strip()) if part.strip()]
    source = [part for part in paragraphs if part.startswith("Source:")]
    rest = [part for part in paragraphs if part not in source]
    return "\n\n".join(rest), " ".join(source).removeprefix("Source:").replace("\n", " ").strip()


def plain_math(formula: str) -> str:
    """LaTeX as a line of text."""
    for sign, text in _SIGNS.items():
        formula = formula.replace(sign, text)
    return re.sub(r"_\{([^{}]*)\}", r"_(\1)", formula)
