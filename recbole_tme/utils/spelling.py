"""What error messages say of words: the nearest known one, and the one that is there twice."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence

# Ratio of difflib's matcher from which a word is near: 1 is the same word.
NEAR = 0.6


def did_you_mean(word: str, candidates: Iterable[str], at_least: float = NEAR) -> str:
    """``"; did you mean X?"`` with the candidate nearest to a word, or ``""`` where none is near.

    Case does not count, and a dash is an underscore.

    Args:
        word: what was given.
        candidates: the known words.
        at_least: how alike they must be, from 0 (take the nearest in any case) to 1.
    """
    by_plain = {_plain(candidate): candidate for candidate in candidates}
    near = difflib.get_close_matches(_plain(word), by_plain, n=1, cutoff=at_least)
    return f"; did you mean {by_plain[near[0]]}?" if near else ""


def first_repeated(words: Sequence[str]) -> str | None:
    """The first of some words that is there more than once, or None; of a million in a second."""
    counts = Counter(words)
    return next((word for word in words if counts[word] > 1), None)


def _plain(word: str) -> str:
    return word.lower().replace("-", "_")
