"""The API's pages: what ``recbole_tme.__all__`` names, and what new models are built from."""

from __future__ import annotations

import re
from pathlib import Path

from docstrings import plain_math

import recbole_tme

ROOT = Path(__file__).parents[2]
GROUPS = {
    "Train": ("run", "Run", "load_run", "refit", "update", "Updated", "estimate"),
    "Compare and tune": ("compare", "Comparison", "tune", "Study"),
    "Data": ("prepare", "Prepared"),
    "Recommend": ("Recommender",),
    "List": ("list_models", "list_datasets", "list_keys", "list_runs"),
    "New models": ("SessionRecommender", "check_model"),
    "Errors": ("UserError",),
}
WITHOUT_HEADING = """\
    options:
      heading_level: 3
      show_root_heading: false
      show_root_toc_entry: false"""
_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):<code>~?([^<]+)</code>")
_MATH = re.compile(r":math:<code>([^<]+)</code>")


def api_page() -> str:
    """Every public name under its heading, and those without one under the last."""
    grouped = {name for names in GROUPS.values() for name in names}
    more = tuple(name for name in recbole_tme.__all__ if name not in grouped)
    parts = [
        "# Python API",
        "All of it is imported from `recbole_tme`. [From Python](../python.md) shows it in use.",
    ]
    for heading, names in (GROUPS | ({"More": more} if more else {})).items():
        parts.append(f"## {heading}")
        for name in names:
            value = getattr(recbole_tme, name)
            parts.append(f"::: {value.__module__}.{name}\n    options:\n      heading_level: 3")
    return "\n\n".join(parts) + "\n"


def building_blocks_page() -> str:
    """The modules of ``recbole_tme.nn``, one after the other."""
    parts = [
        "# Building blocks",
        "What models are made of: layers, graphs, readouts and losses in pure PyTorch. `[B, L, d]` are shapes: B "
        "sessions, L clicks, vectors of size d. [A new model](../new_model.md) puts some of them together.",
    ]
    for file in sorted((ROOT / "recbole_tme" / "nn").glob("*.py")):
        if file.stem != "__init__":
            parts.append(f"## {file.stem}\n\n::: recbole_tme.nn.{file.stem}\n{WITHOUT_HEADING}")
    return "\n\n".join(parts) + "\n"


def plain_roles(html: str) -> str:
    """Sphinx's roles, as they come out of Markdown, as plain names."""
    html = _ROLE.sub(lambda role: f"<code>{role[1].rpartition('.')[2]}</code>", html)
    return _MATH.sub(lambda found: f"<code>{plain_math(found[1])}</code>", html)
