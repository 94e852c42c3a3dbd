"""The events of a study, written as they happen, so that an interrupted study can be resumed.

``journal.jsonl`` has a line per event; a truncated last line is ignored. Events of a trial:
``begin`` (its settings), ``epoch`` (its scores), ``lost`` (its worker died; the trial is begun again) and ``end``.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_tme.errors import UserError
from recbole_tme.utils.files import alone_in, writing
from recbole_tme.utils.shapes import mismatch

FINISHED, STOPPED, FAILED = "finished", "stopped early", "failed"
# Of a trial without an end: running, or cut off by the budget or with the process.
OPEN = "open"
_ROW = {"epoch": int, "score": float, "epoch_score": float, "seconds": float, "last": bool}
_TRIAL = {"trial": int, "time": float}
SHAPES: dict[str, dict] = {
    "start": {"time": float},
    "begin": _TRIAL | {"settings": dict},
    "epoch": _TRIAL | {"row": _ROW, "settings?": dict},
    "lost": _TRIAL,
    "end": _TRIAL | {"status": str, "trace": str},
}


@dataclass
class Trial:
    """One trial.

    Attributes:
        number: counted from 0.
        settings: the values of the active keys of the space; of population-based training those of its last epoch.
        rows: one per epoch, in order: ``epoch`` (counted from 1), ``score`` (the best so far), ``epoch_score``,
            ``seconds`` (of all its epochs so far).
        status: :data:`FINISHED`, :data:`STOPPED`, :data:`FAILED` or :data:`OPEN`.
        trace: the traceback of a failed one.
        lost: how many workers it lost.
    """

    number: int
    settings: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    status: str = OPEN
    trace: str = ""
    lost: int = 0

    @property
    def ended(self) -> bool:
        return self.status != OPEN

    @property
    def score(self) -> float | None:
        """The best validation score of its epochs; None before the first."""
        return self.rows[-1]["score"] if self.rows else None

    @property
    def best_epoch(self) -> int | None:
        """The first epoch, counted from 1, with that score."""
        return next((row["epoch"] for row in self.rows if row["score"] == self.score), None)

    @property
    def seconds(self) -> float:
        return self.rows[-1]["seconds"] if self.rows else 0.0


class Journal:
    """The events of one study, on disk and in memory.

    Args:
        path: the file; an existing one is read first.

    Raises:
        UserError: the file cannot be read or written, another process works on it, or a line before the last
            is not a journal line.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self.trials: list[Trial] = []
        self.seconds_before = 0.0
        self._last_time: float | None = None
        with writing(self.path):
            self._file = self.path.open("ab")
        self._lock = ExitStack()
        self._lock.enter_context(alone_in(self.path.parent))
        whole = self._read()
        with writing(self.path):
            # What was cut off would make the next line unreadable.
            self._file.truncate(whole)
        self._started = time.time()

    @property
    def seconds(self) -> float:
        """Wall time of the study so far, over all its processes."""
        return self.seconds_before + time.time() - self._started

    def start(self) -> None:
        """Note that a process starts or resumes the study."""
        self._write({"event": "start"})

    def begin(self, settings: dict[str, Any]) -> Trial:
        """Note the begin of a further trial, and return it."""
        self._write({"event": "begin", "trial": len(self.trials), "settings": settings})
        return self.trials[-1]

    def epoch(self, trial: Trial, row: dict[str, Any], settings: dict[str, Any] | None = None) -> bool:
        """Note a trial's epoch, unless it is known already. Returns whether it was new.

        Args:
            trial: the trial.
            row: as in :attr:`Trial.rows`.
            settings: those it was trained with, where they have changed.
        """
        if trial.ended or (trial.rows and row["epoch"] <= trial.rows[-1]["epoch"]):
            return False
        changed = {} if settings in (None, trial.settings) else {"settings": settings}
        self._write({"event": "epoch", "trial": trial.number, "row": row} | changed)
        return True

    def lost(self, trial: Trial) -> None:
        """Note that a trial's worker died."""
        self._write({"event": "lost", "trial": trial.number})

    def end(self, trial: Trial, status: str, trace: str = "") -> None:
        """Note a trial's end; only the first one counts."""
        if not trial.ended:
            self._write({"event": "end", "trial": trial.number, "status": status, "trace": trace})

    def close(self) -> None:
        self._file.close()
        self._lock.close()

    def _write(self, event: dict[str, Any]) -> None:
        event["time"] = round(time.time(), 3)
        with writing(self.path):
            self._file.write(json.dumps(event).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        self._apply(event)

    def _read(self) -> int:
        """Take over the file's events; returns how many bytes of it are whole lines."""
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {self.path}: {error.strerror}") from error
        whole = content.rfind(b"\n") + 1
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                event = json.loads(line)
                self._check(event)
                self._spend(event)
                self._apply(event)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise UserError(f"{self.path}:{number}: not a line of a study's journal; start a new study") from error
        return whole

    def _check(self, event: dict[str, Any]) -> None:
        """Refuse what no process of this program wrote, by a ``ValueError`` or what a wrong type raises."""
        kind = event["event"]
        if wrong := mismatch(event, SHAPES[kind]):
            raise ValueError(wrong)
        known = range(len(self.trials))
        if kind != "start" and (event["trial"] != len(known) if kind == "begin" else event["trial"] not in known):
            raise ValueError(f"no trial {event['trial']}")
        if kind == "end" and event["status"] not in (FINISHED, STOPPED, FAILED):
            raise ValueError(f"no status {event['status']}")

    def _spend(self, event: dict[str, Any]) -> None:
        """Count the time between two events of one process."""
        if event["event"] != "start" and self._last_time is not None:
            self.seconds_before += max(0.0, event["time"] - self._last_time)
        self._last_time = event["time"]

    def _apply(self, event: dict[str, Any]) -> None:
        if event["event"] == "begin":
            self.trials.append(Trial(event["trial"], event["settings"]))
            return
        if event["event"] == "start":
            return
        trial = self.trials[event["trial"]]
        if event["event"] == "epoch":
            trial.rows.append(event["row"])
            trial.settings = event.get("settings", trial.settings)
        elif event["event"] == "lost":
            trial.lost += 1
        elif event["event"] == "end":
            trial.status, trial.trace = event["status"], event["trace"]
