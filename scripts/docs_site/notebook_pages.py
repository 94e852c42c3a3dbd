"""A notebook as a page: its text, its code, and what the code gave when the notebook was last run."""

from __future__ import annotations

import json
import re
from pathlib import Path

_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def notebook_page(file: Path) -> str:
    """Markdown of a notebook with its stored outputs.

    Args:
        file: the notebook, which is also on the site to be downloaded.
    """
    notebook = json.loads(file.read_text(encoding="utf-8"))
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        else:
            parts += [f"```python\n{source}\n```", *(_output(one) for one in cell["outputs"])]
    parts.insert(1, f"[Download this notebook]({file.name}){{ .md-button }}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _output(output: dict) -> str:
    if output["output_type"] == "stream":
        # Progress bars and log lines are for whoever waits.
        return _text("".join(output["text"])) if output["name"] == "stdout" else ""
    data = output.get("data", {})
    if "image/png" in data:
        picture = "".join(data["image/png"]).strip()
        return f'<img alt="output" src="data:image/png;base64,{picture}">'
    if "text/html" in data:
        page = re.sub(r"<style.*?</style>", "", "".join(data["text/html"]), flags=re.DOTALL)
        # Without pandas' own looks, tables have those of the site.
        page = re.sub(r"<(table|tr)\b[^>]*>", r"<\1>", page)
        return '<div class="output">' + re.sub(r"\s*\n\s*", "", page) + "</div>"
    return _text("".join(data.get("text/plain", "")))


def _text(text: str) -> str:
    return f"```text\n{_ESCAPES.sub('', text).rstrip()}\n```" if text.strip() else ""
