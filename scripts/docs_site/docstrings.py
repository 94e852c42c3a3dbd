"""Docstrings, which are written for Sphinx, as Markdown."""

from __future__ import annotations

import re
import textwrap

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):`~?([^`]+)`")
_INLINE_MATH = re.compile(r":math:`([^`]+)`")
_MATH = re.compile(r"^\.\. math::\n((?:[ ]{4}.*\n?|\n)+)", re.MULTILINE)
_CODE = re.compile(r"``([^`]+)``")
_SECTIONS = re.compile(r"^(?:Args|Attributes|Raises|Returns):$", re.MULTILINE)


def as_markdown(text: str) -> tuple[str, str]:
    """A class's docstring without its sections of arguments, and its source.

    Returns:
        The text as Markdown, and what follows ``Source:`` as one line, empty where there is none.
    """
    text = _CODE.sub(r"`\1`", _SECTIONS.split(text, maxsplit=1)[0])
    text = _ROLE.sub(lambda role: f"`{role[1].rpartition('.')[2]}`", text)
    text = _INLINE_MATH.sub(r"`\1`", text)
    text = _MATH.sub(lambda found: f"```latex\n{textwrap.dedent(found[1]).strip()}\n```\n\n", text)
    paragraphs = [part for part in re.split(r"\n{2,}(?!\s)", text.strip()) if part.strip()]
    source = [part for part in paragraphs if part.startswith("Source:")]
    rest = [part for part in paragraphs if part not in source]
    return "\n\n".join(rest), " ".join(source).removeprefix("Source:").replace("\n", " ").strip()
