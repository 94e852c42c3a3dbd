"""Every message of an error that a user can cause, taken from the code."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ERRORS = ("UserError", "PluginError")
GAP = "…"
AREAS = {
    "data": "Data",
    "config": "Settings",
    "schema": "Settings",
    "models": "Models",
    "experiment": "Training",
    "runs": "Runs",
    "evaluation": "Evaluation",
    "comparison": "Comparing",
    "report": "Reports",
    "tuning": "Tuning",
    "serving": "Recommending and serving",
}


@dataclass(frozen=True)
class Message:
    """A message with a gap for everything that is filled in, and the module that raises it."""

    text: str
    module: str


def messages() -> list[Message]:
    """The messages of all errors that the package raises by ``UserError(...)``, in order of their modules."""
    found = {}
    for file in sorted((ROOT / "recbole_tme").rglob("*.py")):
        module = str(file.relative_to(ROOT))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) in ERRORS and node.args:
                for text in _texts(node.args[0]):
                    if sum(map(str.isalpha, text)) >= 9:
                        found[text] = Message(text, module)
    return list(found.values())


def messages_page() -> str:
    """All messages, by area."""
    areas = defaultdict(list)
    for message in messages():
        folder = Path(message.module).parts[1]
        areas[AREAS.get(folder, "Command line and Python")].append(message)
    parts = [
        "# Every error message",
        "An error is one line that names what is wrong and says what to do. This list is made from the code, so that a "
        f"search for the words of a message finds it; {GAP} stands for what is filled in. "
        "[Troubleshooting](../troubleshooting.md) explains the frequent ones.",
    ]
    for area in dict.fromkeys([*AREAS.values(), "Command line and Python"]):
        lines = "\n".join(f"* `{message.text}`" for message in areas[area])
        parts.append(f"## {area}\n\n{lines}")
    return "\n\n".join(parts) + "\n"


def _texts(node: ast.expr) -> list[str]:
    """What an expression may be as text; two where it is one of two."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [" ".join(node.value.split())]
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else GAP for part in node.values]
        text = re.sub(rf"(?:{GAP})+", GAP, "".join(parts))
        return [" ".join(text.replace("`", "'").split())]
    if isinstance(node, ast.IfExp):
        return _texts(node.body) + _texts(node.orelse)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [left + right for left in _texts(node.left) or [GAP] for right in _texts(node.right) or [GAP]]
    return []
