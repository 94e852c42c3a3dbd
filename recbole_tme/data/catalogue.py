"""Names to ids: one numbering of the items over all splits of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from recbole_tme.data.items import ItemTable
from recbole_tme.data.names import Names
from recbole_tme.data.ragged import CLICKS_AT_ONCE, look_up
from recbole_tme.data.sessions import PAD_TOKEN, SessionData, Sessions
from recbole_tme.errors import UserError


@dataclass(frozen=True)
class NamedSessions:
    """Sessions as a source gives them, numbered by the source's own catalogue.

    Attributes:
        sessions: item id ``i`` (1..M) stands for ``tokens[i]``.
        tokens: external item ids, object ``[M + 1]`` of str, ``tokens[0]`` is the padding token.
        unnamed: whether the source has no names of sessions, so that theirs are mere numbers.
    """

    sessions: Sessions
    tokens: np.ndarray
    unnamed: bool = False


def catalogue(names: Sequence[str]) -> np.ndarray:
    """Token array of a catalogue: the padding token, then the names. Object ``[len(names) + 1]``.

    Objects rather than numpy's fixed-width strings, which take the longest name's room for each item and lose
    zero characters at a name's end.
    """
    tokens = np.empty(len(names) + 1, dtype=object)
    tokens[0] = PAD_TOKEN
    tokens[1:] = names
    return tokens


def first_appearance(codes: np.ndarray, n: int) -> np.ndarray:
    """Codes 0..n-1 that occur in ``codes``, in order of first occurrence."""
    first = np.full(n, len(codes), dtype=np.int64)
    # Written backwards, the first occurrence of each code is the last to be written.
    for stop in range(len(codes), 0, -CLICKS_AT_ONCE):
        start = max(stop - CLICKS_AT_ONCE, 0)
        first[codes[start:stop][::-1]] = np.arange(stop - 1, start - 1, -1)
    order = np.argsort(first, kind="stable")
    return order[: np.count_nonzero(first < len(codes))]


def assemble(
    name: str,
    train: NamedSessions,
    test: NamedSessions,
    valid: NamedSessions | None = None,
    content: ItemTable | None = None,
) -> SessionData:
    """Put splits together over one catalogue.

    Items are numbered 1..N in order of their first click in train, then valid, then test. Items without a click
    get no number, and content is kept of numbered items only. Sessions without names are numbered 1, 2, ... over
    all splits, so that no two bear the same number.

    Raises:
        UserError: an item is named like the padding token.
    """
    ids: dict[str, int] = {}
    numbered: list[Sessions | None] = []
    n_unnamed = 0
    for split in (train, valid, test):
        if split is None:
            numbered.append(None)
            continue
        codes = split.sessions.items
        renumber = np.zeros(len(split.tokens), dtype=np.int32)
        for code in first_appearance(codes, len(split.tokens)):
            renumber[code] = ids.setdefault(split.tokens[code], len(ids) + 1)
        sessions = replace(split.sessions, items=look_up(renumber, codes))
        if split.unnamed:
            sessions = replace(sessions, ids=Names.numbered(n_unnamed + 1, len(sessions)))
            n_unnamed += len(sessions)
        numbered.append(sessions)
    if PAD_TOKEN in ids:
        raise UserError(f"data set {name}: an item is called {PAD_TOKEN}, the padding token's name; rename it")
    content = (content or ItemTable()).of(ids)
    return SessionData(
        name=name,
        train=numbered[0],
        valid=numbered[1],
        test=numbered[2],
        tokens=catalogue(list(ids)),
        titles=content.titles,
        item_columns=content.columns,
    )
