"""What a session gets, and what could not be used of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

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


def as_frame(names: Sequence, answers: Sequence[Recommendation], titles: Mapping[str, str]) -> pd.DataFrame:
    """A row per recommended item, with what the session is called; with a column ``title`` where there are titles."""
    import pandas as pd

    sizes = [len(answer.items) for answer in answers]
    items = [item for answer in answers for item in answer.items]
    named = [titles.get(item, "") for item in items]
    return pd.DataFrame(
        {
            "session": [name for name, size in zip(names, sizes) for _ in range(size)],
            "rank": np.concatenate([np.arange(0), *(np.arange(1, size + 1) for size in sizes)]),
            "item": pd.Series(items, dtype=object),
            **({"title": pd.Series(named, dtype=object)} if titles else {}),
            "score": np.concatenate([np.zeros(0), *(answer.scores for answer in answers)]),
            "source": pd.Series(np.repeat([answer.source for answer in answers], sizes), dtype=object),
        }
    )
