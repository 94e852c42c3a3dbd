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
    whole, length = _whole_rows(table, item, item_seq, item_seq_len)
    rows, _ = _session_rows(dataset, table[user].numpy(), whole, length)
    clicked = np.arange(whole.shape[1]) <= length[rows, None]
    return Clicks(whole[rows][clicked].astype(np.int32), np.append(0, np.cumsum(length[rows] + 1)))


def session_numbers(dataset, user: str, item: str, item_seq: str, item_seq_len: str) -> np.ndarray:
    """Which of the sessions of :func:`train_clicks` an instance is a part of, by the instance's session id.

    Args:
        dataset, user, item, item_seq, item_seq_len: as for :func:`train_clicks`.

    Returns:
        Session numbers by session id, int64 ``[n_ids]``, -1 for ids that are none of a training session.
    """
    table = getattr(dataset, "inter_feat", None)
    if table is None:
        return np.full(1, -1)
    if hasattr(table, "clicks"):
        first, last = int(table.session.min()), int(table.session.max())
        ids, numbers = table.users[first : last + 1].numpy(), np.arange(last - first + 1)
    else:
        ids = table[user].numpy()
        rows, owner = _session_rows(dataset, ids, *_whole_rows(table, item, item_seq, item_seq_len))
        place = np.empty(len(ids), dtype=np.int64)
        place[rows] = np.arange(len(rows))
        numbers = place[owner]
    of_id = np.full(max(dataset.num(user), ids.max() + 1), -1)
    of_id[ids] = numbers
    return of_id


def _whole_rows(table, item: str, item_seq: str, item_seq_len: str) -> tuple[np.ndarray, np.ndarray]:
    """Each of RecBole's rows with its target behind its prefix, ``[n, L + 1]``, and the prefixes' lengths, ``[n]``."""
    prefix, length = table[item_seq].numpy(), table[item_seq_len].numpy()
    whole = np.pad(prefix, ((0, 0), (0, 1)))
    whole[np.arange(len(whole)), length] = table[item].numpy()
    return whole, length


def _session_rows(dataset, users: np.ndarray, whole: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows that hold a session each, in order of time, and for every row the one of them that it is a part of."""
    order = np.lexsort((length, users))
    longest = np.append(users[order[1:]] != users[order[:-1]], True)
    if longest.all():
        part = (whole[1:, :-1] == whole[:-1, :-1] * _before(length[:-1], whole.shape[1] - 1)).all(1) & (
            whole[1:, -1] == 0
        )
        is_first = np.append(True, ~part)
        rows = np.flatnonzero(is_first)
        owner = rows[np.cumsum(is_first) - 1]
    else:
        rows = np.sort(order[longest])
        owner = np.empty(len(users), dtype=np.int64)
        owner[order] = order[longest][np.cumsum(np.append(0, longest[:-1]))]
    time = dataset.time_field
    if time in dataset.inter_feat:
        rows = rows[np.argsort(dataset.inter_feat[time].numpy()[rows], kind="stable")]
    return rows, owner


def _before(length: np.ndarray, width: int) -> np.ndarray:
    return np.arange(width) < length[:, None]


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
