"""What a session gets, and what could not be used of it."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np

# Kinds of notes that are shown, the most frequent first.
NOTES = 3


class Recommendation(NamedTuple):
    """What one session gets.

    Attributes:
        items: external item ids, the best first.
        scores: their scores, ``[n]``: the model's, or clicks in training where it could not be asked.
        source: "model", or "popularity" for a session without a click on a known item.
        unknown: the session's clicks on items that the model does not know, which were skipped.
        notes: what the rules could not do, in words.
    """

    items: list[str]
    scores: np.ndarray
    source: str
    unknown: list[str]
    notes: tuple[str, ...] = ()


class Skipped:
    """Counts what could not be used of some sessions; true where there is anything to say, its text says it."""

    def __init__(self):
        self.sessions = self.unknown = self.fallbacks = 0
        self.example = ""
        self._notes: Counter[str] = Counter()

    def add(self, answer: Recommendation) -> None:
        """Count one session."""
        self.sessions += 1
        self.fallbacks += answer.source == "popularity"
        if answer.unknown and not self.unknown:
            self.example = answer.unknown[0]
        self.unknown += len(answer.unknown)
        self._notes.update(answer.notes)

    def __bool__(self) -> bool:
        return bool(self.unknown or self.fallbacks or self._notes)

    @property
    def summary(self) -> str:
        """How many sessions were answered and how, and what was skipped."""
        text = f"{self.sessions:,} sessions answered, {self.sessions - self.fallbacks:,} by the model"
        return f"{text}; {self}" if self else text

    def __str__(self) -> str:
        parts = []
        if self.unknown:
            parts.append(
                f"clicks skipped, the model does not know their items: {self.unknown} (first: {self.example!r})"
            )
        if self.fallbacks:
            parts.append(
                f"sessions without a click on a known item, given the most popular ones: "
                f"{self.fallbacks} of {self.sessions}"
            )
        for note, count in self._notes.most_common(NOTES):
            parts.append(note if self.sessions == 1 else f"{note}: {count} of {self.sessions} sessions")
        return "; ".join(parts)
