"""What to do with a finished run: commands that work as they are printed."""

from __future__ import annotations

import importlib.util
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_tme.errors import UserError
from recbole_tme.evaluation.summary import shown_name
from recbole_tme.report.section import RANKED_BY
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.runs.find import LATEST, named_run
from recbole_tme.utils import terminal

if TYPE_CHECKING:
    from recbole_tme.api.comparing import Comparison

# The key data_path, unless told otherwise.
DEFAULT_DATA_PATH = "dataset_atomic"
# Clicks of the session that is recommended for.
EXAMPLE_CLICKS = 2


def after_run(directory: RunDirectory) -> list[tuple[str, str]]:
    """Commands for a finished run, each with what it is for."""
    name = _short(directory.path)
    steps = [(f"recbole-tme recommend {name} --session={_session(directory)}", "recommend for a session")]
    if importlib.util.find_spec("fastapi") and importlib.util.find_spec("uvicorn"):
        steps.append((f"recbole-tme serve {name}", "try it in a browser"))
    steps.append((f"recbole-tme report {name}", "the result as a page"))
    return steps


def after_comparison(found: Comparison) -> list[tuple[str, str]]:
    """Commands for a finished comparison, each with what it is for."""
    best = max(found.runs, key=lambda run: run.metrics.get(shown_name(RANKED_BY), 0.0))
    name = shlex.quote(str(best.path))
    return [(f"recbole-tme show {name}", ""), (f"recbole-tme bundle {name} --out=model", "")]


def after_prepare(name: str, out: str) -> list[tuple[str, str]]:
    """Commands for a data set that was made."""
    where = f" --data_path={shlex.quote(out)}" if Path(out) != Path(DEFAULT_DATA_PATH) else ""
    dataset = f"--dataset={shlex.quote(name)}{where}"
    return [(f"recbole-tme run {dataset}", ""), (f"recbole-tme compare --models=SRGNN,VSKNN,SPop {dataset}", "")]


def after_search(best: Path) -> list[tuple[str, str]]:
    """The command that trains with a study's best settings."""
    return [(f"recbole-tme run --config_files={shlex.quote(str(best))}", "")]


def say_next(steps: list[tuple[str, str]]) -> None:
    """Print commands with what they are for, in a column of its own where there is room for it."""
    terminal.say()
    terminal.say(("next", "strong"))
    room = terminal.columns() - 4 - max(len(meaning) for _, meaning in steps)
    width = max((len(command) for command, _ in steps if len(command) <= room), default=0)
    for command, meaning in steps:
        if len(command) <= room:
            terminal.say(f"  {command:<{width}}  ", (meaning, "faint"))
            continue
        for line in continued(command, terminal.columns() - 2):
            terminal.say(f"  {line}")


def continued(command: str, width: int) -> list[str]:
    """A command in lines that fit, which a shell reads as one."""
    if len(command) <= width:
        return [command]
    lines = [""]
    for word in map(_quoted, shlex.split(command)):
        if lines[-1] and len(lines[-1]) + len(word) + 3 > width:
            lines[-1] += " \\"
            lines.append(f"    {word}")
        else:
            lines[-1] += f" {word}" if lines[-1] else word
    return lines


def _quoted(word: str) -> str:
    """A word for a shell; of an option only its value is quoted."""
    name, equals, value = word.partition("=")
    return f"{name}={shlex.quote(value)}" if equals and name.startswith("--") else shlex.quote(word)


def _short(path: Path) -> str:
    """The run's directory, or ``latest`` where that means it."""
    try:
        is_latest = named_run(LATEST).resolve() == path.resolve()
    # There may be no folder runs here.
    except UserError:
        is_latest = False
    return LATEST if is_latest else shlex.quote(str(path))


def _session(directory: RunDirectory) -> str:
    """Items of the catalogue that sessions are not separated by, as a word for a shell."""
    try:
        known = directory.read_items()[1:]
    except UserError:
        known = []
    items = [item for item in known if item.isprintable() and item and " " not in item]
    return shlex.quote(" ".join(items[:EXAMPLE_CLICKS])) if items else "'ITEM ITEM'"
