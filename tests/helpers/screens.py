"""A terminal in memory, and what would be seen on it."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

_FILE = Path(__file__).parents[2] / "scripts" / "capture_terminal.py"
_SPEC = importlib.util.spec_from_file_location("capture_terminal", _FILE)
assert _SPEC is not None and _SPEC.loader is not None
capture_terminal = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(capture_terminal)


class FakeTerminal(io.StringIO):
    """Standard error that says it is a terminal; to be set as ``sys.stderr``."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        """What stands on it, without colours."""
        return [capture_terminal.plain(line).rstrip() for line in capture_terminal.screen(self.getvalue())]


def on_terminal(monkeypatch, columns: int = 80, **environment: str) -> FakeTerminal:
    """Make standard error a terminal of so many columns for a test."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "RECBOLE_TME_OUTPUT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"COLUMNS": str(columns), "TERM": "xterm-256color"} | environment).items():
        monkeypatch.setenv(name, value)
    terminal = FakeTerminal()
    monkeypatch.setattr("sys.stderr", terminal)
    return terminal
