"""The training clicks as two flat arrays, from our session data set or from RecBole's own."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Largest relative change of a score by which equal scores are put in order.
TIE_BREAK = 1e-5


class Clicks(NamedTuple):
    """Sessions in time order: click ``k`` of session ``s`` is ``items[offsets[s] + k]``.

    Attributes:
        items: item ids, int32 ``[n_clicks]``.
        offsets: int64 ``[n_sessions + 1]``.
    """

    items: np.ndarray
    offsets: np.ndarray

    @property
    def n_sessions(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Clicks per session, int64 ``[n_sessions]``."""
        return np.diff(self.offsets)

    @property
    def session(self) -> np.ndarray:
        """The session of each click, int64 ``[n_clicks]``."""
        return np.repeat(np.arange(self.n_sessions), self.lengths)

    def popularity(self, n_items: int) -> np.ndarray:
        """Clicks per item, int64 ``[n_items]``."""
        return np.bincount(self.items, minlength=n_items)

    def tie_factors(self, n_items: int) -> np.ndarray:
        """Factors that order equal scores by the items' last click in training, latest first, float64 ``[n_items]``.

        They lie in ``[1, 1 + TIE_BREAK]`` and are distinct for the items that were clicked at all.
        """
        last = np.zeros(n_items)
        # Of repeated indices the last assignment stands.
        last[self.items] = np.arange(1, len(self.items) + 1)
        return 1 + TIE_BREAK * last / max(1, len(self.items))


def train_clicks(dataset, user: str, item: str, item_seq: str, item_seq_len: str) -> Clicks:
    """The sessions of a training data set.

    Args:
        dataset: our session data set, or RecBole's sequential one; without an ``inter_feat`` it has no click, for a
            model that is to be filled by ``load_state_dict``.
        user, item, item_seq, item_seq_len: the field names of session, target, prefix and prefix length.

    Returns:
        The clicks. Of RecBole's rows (prefix, target), a session is the longest of its rows; the sessions are in order
        of the target's time, or of the rows where there is no time. RecBole's own session files number every row as a
        session, longest prefix first: there a row that begins the row before it, target included, is part of it.
    """
    table = getattr(dataset, "inter_feat", None)
    if table is None:
        return Clicks(np.zeros(0, np.int32), np.zeros(1, np.int64))
    if hasattr(table, "clicks"):
        first, last = int(table.session.min()), int(table.session.max())
        offsets = table.offsets[first : last + 2].numpy()
        return Clicks(table.clicks[offsets[0] : offsets[-1]].numpy().copy(), offsets - offsets[0])
    users, prefix, length = (table[name].numpy() for name in (user, item_seq, item_seq_len))
    whole = np.pad(prefix, ((0, 0), (0, 1)))
    whole[np.arange(len(whole)), length] = table[item].numpy()
    order = np.lexsort((length, users))
    longest = np.append(users[order[1:]] != users[order[:-1]], True)
    if longest.all():
        part = (whole[1:, :-1] == prefix[:-1]).all(1) & (whole[1:, -1] == 0)
        rows = np.flatnonzero(np.append(True, ~part))
    else:
        rows = np.sort(order[longest])
    if dataset.time_field in table:
        rows = rows[np.argsort(table[dataset.time_field].numpy()[rows], kind="stable")]
    clicked = np.arange(whole.shape[1]) <= length[rows, None]
    return Clicks(whole[rows][clicked].astype(np.int32), np.append(0, np.cumsum(length[rows] + 1)))


def latest_clicks(session: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct items of a session in order of their latest click.

    Args:
        session: item ids in click order, ``[l]``.

    Returns:
        Items, positions of their latest clicks (1..l, ascending) and numbers of clicks, ``[n]`` each.
    """
    items, first_from_end, counts = np.unique(session[::-1], return_index=True, return_counts=True)
    order = np.argsort(-first_from_end)
    return items[order], len(session) - first_from_end[order], counts[order]


def below_one(popularity: np.ndarray) -> np.ndarray:
    """Popularity as scores that lie under any whole number, float64 of the same shape in ``[0, 1)``.

    The scores go by rank, equally far apart, so that float32 keeps unequal counts unequal; equal counts stay equal.
    """
    counts, rank = np.unique(popularity, return_inverse=True)
    return rank / len(counts) if len(counts) and counts[0] == 0 else (rank + 1) / (len(counts) + 1)
