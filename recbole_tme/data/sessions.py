"""Sessions kept once: a flat array of clicks and an offset per session, never one padded row per prefix."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from recbole_tme.data.names import Names

if TYPE_CHECKING:
    from recbole_tme.data.catalogue import NamedSessions
    from recbole_tme.data.items import ItemColumn

PAD_TOKEN = "[PAD]"  # noqa: S105 (no password)


@dataclass(frozen=True)
class Sessions:
    """A list of sessions in time order of their last click.

    Click ``k`` of session ``s`` is ``items[offsets[s] + k]``.

    Attributes:
        items: item ids, int32 ``[n_clicks]``, 1..N (0 is padding and never occurs).
        offsets: int64 ``[n_sessions + 1]``.
        ids: the sessions' own names, ``[n_sessions]`` of str; any strings become ``Names``.
        times: float64 seconds ``[n_clicks]``, or None where the source has none (then the order is all there is).
        is_target: bool ``[n_clicks]``, or None for the usual "every click but a session's first".
    """

    items: np.ndarray
    offsets: np.ndarray
    ids: Names
    times: np.ndarray | None = None
    is_target: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.ids, Names):
            object.__setattr__(self, "ids", Names(self.ids))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Clicks per session, int64 ``[n_sessions]``."""
        return np.diff(self.offsets)

    def __getitem__(self, s: int) -> np.ndarray:
        """Item ids of session ``s`` in click order."""
        return self.items[self.offsets[s] : self.offsets[s + 1]]

    @property
    def n_instances(self) -> int:
        """How many :meth:`instances` there are, without making them."""
        if self.is_target is None:
            return int(np.maximum(self.lengths - 1, 0).sum())
        return int(self.is_target.sum()) - int(self.is_target[self.offsets[:-1][self.lengths > 0]].sum())

    def slice(self, start: int, stop: int) -> Sessions:
        """Sessions ``start`` (inclusive) to ``stop`` (exclusive), as views."""
        lo, hi = self.offsets[start], self.offsets[stop]
        return Sessions(
            items=self.items[lo:hi],
            offsets=self.offsets[start : stop + 1] - lo,
            ids=self.ids[start:stop],
            times=None if self.times is None else self.times[lo:hi],
            is_target=None if self.is_target is None else self.is_target[lo:hi],
        )

    def instances(self) -> tuple[np.ndarray, np.ndarray]:
        """The (prefix, target) pairs of the field's protocol, longest prefix of each session first.

        Returns:
            ``session`` and ``target``, int64 ``[n_instances]`` each: the target is click ``target`` (an index into
            ``items``) and its prefix is ``items[offsets[session] : target]``.
        """
        session = np.repeat(np.arange(len(self)), self.lengths)
        position = np.arange(len(self.items)) - self.offsets[session]
        wanted = position > 0 if self.is_target is None else self.is_target & (position > 0)
        # Descending within a session, ascending over sessions.
        target = np.repeat(self.offsets[1:] - 1, self.lengths) - position
        keep = wanted[target]
        return session[keep], target[keep]


@dataclass(frozen=True)
class SessionData:
    """One data set: sessions of each split over one catalogue.

    Attributes:
        name: the data set's name.
        train, valid, test: the splits; ``valid`` is None until a validation cut is made or where no file has it.
        tokens: external item ids, ``[N + 1]`` of str, ``tokens[0]`` is the padding token.
        titles: readable name per external item id, where the data set has an item file.
        item_columns: what else that file says of items, such as category and price, by column.
        whole_test: the test sessions before clicks on items unseen in train were dropped, where any were, over a
            catalogue of their own; what trains on everything takes them in place of ``test``.
    """

    name: str
    train: Sessions
    test: Sessions
    tokens: np.ndarray
    valid: Sessions | None = None
    titles: dict[str, str] = field(default_factory=dict)
    item_columns: dict[str, ItemColumn] = field(default_factory=dict)
    whole_test: NamedSessions | None = None
