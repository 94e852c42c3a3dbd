"""What was read of a source, what was kept of it and what was dropped, for each reason."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Dropped:
    """What one reason took away; ``sessions`` counts those that lost every click."""

    reason: str
    clicks: int
    sessions: int | None = None

    def __str__(self) -> str:
        sessions = f" ({self.sessions:,} sessions)" if self.sessions else ""
        return f"{self.clicks:,} clicks{sessions}: {self.reason}"


@dataclass
class Record:
    """The account of one import, in the order of its steps; it becomes part of the data set's JSON file.

    Attributes:
        read: what was read and how it was understood, by what it is: files, rows, columns, form of times ...
        dropped: what was left out, a reason each; reasons that took nothing are not listed.
        warnings: what looks wrong.
    """

    read: dict = field(default_factory=dict)
    dropped: list[Dropped] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def drop(self, reason: str, clicks: int, sessions: int | None = None) -> None:
        """Add a reason, if it took anything."""
        if clicks or sessions:
            self.dropped.append(Dropped(reason, int(clicks), None if sessions is None else int(sessions)))

    def warn(self, text: str) -> None:
        """Add a warning."""
        self.warnings.append(text)

    def add(self, role: str, part: Record) -> None:
        """Take over the account of one of several parts, such as the training sessions; "log" is the only one."""
        mark = "" if role == "log" else f"{role}: "
        self.read |= {mark + key: value for key, value in part.read.items()}
        self.dropped += [Dropped(mark + one.reason, one.clicks, one.sessions) for one in part.dropped]
        self.warnings += [mark + text for text in part.warnings]

    def as_json(self) -> dict:
        """Plain data."""
        return {"read": self.read, "dropped": [asdict(one) for one in self.dropped], "warnings": self.warnings}

    @classmethod
    def from_json(cls, path: Path) -> Record:
        """The record in a data set's JSON file; an empty one where it has none."""
        stored = json.loads(path.read_text(encoding="utf-8")).get("record", {})
        dropped = [Dropped(**one) for one in stored.get("dropped", [])]
        return cls(stored.get("read", {}), dropped, stored.get("warnings", []))

    def __str__(self) -> str:
        lines = (
            [f"read: {', '.join(f'{key} {_shown(value)}' for key, value in self.read.items())}"] if self.read else []
        )
        lines += [f"dropped: {one}" for one in self.dropped]
        return "\n".join([*lines, *(f"warning: {text}" for text in self.warnings)])


def _shown(value) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
