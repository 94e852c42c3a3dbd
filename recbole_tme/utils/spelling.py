"""The hint of an error message that names a word nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

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


def _plain(word: str) -> str:
    return word.lower().replace("-", "_")
