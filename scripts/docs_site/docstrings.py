"""Docstrings, which are written for Sphinx, as Markdown."""

from __future__ import annotations

import re

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|math):`~?([^`]+)`")
_MATH = re.compile(r"^\.\. math::\n((?:[ ]{4}.*\n?|\n)+)", re.MULTILINE)


def as_markdown(text: str) -> tuple[str, str]:
    """A class's docstring without its sections of arguments, and its source.

    Returns:
        The text as Markdown, and what follows ``Source:`` as one line, empty where there is none.
    """
    text = re.split(r"^(?:Args|Attributes|Raises|Returns):$", text, maxsplit=1, flags=re.MULTILINE)[0]
    text = _MATH.sub(lambda found: "```latex\n" + re.sub(r"(?m)^ {4}", "", found[1]).strip() + "\n```\n\n", text)
    text = _ROLE.sub(lambda role: f"`{role[1] if chr(92) in role[1] else role[1].rpartition('.')[2]}`", text).replace("``", "`")
    # A fence of three became one of two above.
    text = re.sub(r"^``?(latex)?$", lambda fence: "```" + (fence[1] or ""), text, flags=re.MULTILINE)
    paragraphs = [part for part in re.split(r"\n{2,}(?!\s)", text.strip()) if part.strip()]
    source = [part for part in paragraphs if part.startswith("Source:")]
    rest = [part for part in paragraphs if part not in source]
    return "\n\n".join(rest), " ".join(source).removeprefix("Source:").replace("\n", " ").strip()
