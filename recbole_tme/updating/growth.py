"""A data set with the sessions of a newer log behind its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timezone

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbole_tme.data.catalogue import NamedSessions, assemble, catalogue
from recbole_tme.data.filters import drop_unseen
from recbole_tme.data.items import ItemTable
from recbole_tme.data.names import Names
from recbole_tme.data.ragged import concatenate, explicit_targets, keep_clicks, take_sessions, to_offsets
from recbole_tme.data.record import Record
from recbole_tme.data.sessions import SessionData, Sessions
from recbole_tme.data.split import SECONDS_PER_DAY, by_last_click, last_clicks
from recbole_tme.errors import UserError

# A session that goes on after a longer pause is another one of the same name.
SAME_SESSION_SECONDS = 1800


@dataclass(frozen=True)
class Growth:
    """What a data set has become.

    Attributes:
        data: ``train`` is the old sessions and then the new ones, but for the latest, which are ``test``.
        is_fresh: of each training session, whether the old model was not trained on it, bool ``[n_train]``.
        old_sessions: of the data set that were kept and do not go on.
        new_sessions: of the new log, those in ``test`` among them.
        forgotten_sessions: old sessions that were dropped for their age.
    """

    data: SessionData
    is_fresh: np.ndarray
    old_sessions: int
    new_sessions: int
    forgotten_sessions: int


def grow(
    old: SessionData,
    n_trained: int,
    new: NamedSessions,
    content: ItemTable,
    record: Record,
    *,
    holdout: float,
    forget_after: float | None = None,
    min_support: int = 1,
) -> Growth:
    """Put the sessions of a log that ended after a data set's last click behind the data set's own.

    A session that the data set holds the beginning of goes on: it becomes one of the new ones.

    Args:
        old: the data set, all of it as ``train``.
        n_trained: so many of its sessions, from the first on, the old model was trained on.
        new: the log, sessions in ascending time of their last click, with times.
        content: what is known of its items.
        record: what is dropped is added here.
        holdout: the latest share of the new sessions that becomes ``test``.
        forget_after: days before the last click after which an old session is dropped, and with it items that no other
            session clicks.
        min_support: fewest clicks of an item that the data set does not know.

    Raises:
        UserError: the data set has no times, or the log no session after its end, none on its items, or too few to
            hold some out.
    """
    if old.train.times is None:
        raise UserError(
            f"data set {old.name} has no times, so that new sessions have no place behind it; prepare it with --time"
        )
    sessions, tokens = _renumbered(old, new)
    sessions, forgotten = _after(sessions, float(old.train.times.max()), record), 0
    is_fresh = np.arange(len(old.train)) >= n_trained
    before, sessions, gone = _continued(old.train, sessions)
    is_fresh = is_fresh[~gone]
    if forget_after is not None:
        kept = last_clicks(before) >= last_clicks(sessions).max() - forget_after * SECONDS_PER_DAY
        is_fresh, forgotten = is_fresh[kept], int(np.count_nonzero(~kept))
        before = take_sessions(before, kept)
    sessions = _supported(sessions, before, len(tokens), min_support, record)
    n_test = round(len(sessions) * holdout)
    if not 0 < n_test < len(sessions):
        raise UserError(
            f"holdout={holdout} of {len(sessions)} new sessions of two clicks leaves none to train on or none to "
            "measure on; bring more sessions or change it"
        )
    latest = sessions.slice(len(sessions) - n_test, len(sessions))
    train = concatenate([before, sessions.slice(0, len(sessions) - n_test)])
    test = by_last_click(drop_unseen(latest, train))
    if not len(test):
        raise UserError("none of the latest new sessions has two clicks on items clicked before; raise holdout")
    record.drop("held-out click on an item unseen before", len(latest.items) - len(test.items), n_test - len(test))
    train = replace(train, ids=Names(_distinct(train.ids)))
    data = assemble(old.name, NamedSessions(train, tokens), NamedSessions(test, tokens))
    items = set(data.tokens[1:])
    if len(test.items) < len(latest.items):
        data = replace(data, whole_test=NamedSessions(latest, tokens))
        items |= set(tokens[np.unique(latest.items)])
    content = (ItemTable(old.titles, old.item_columns) | content).of(items)
    data = replace(data, titles=content.titles, item_columns=content.columns)
    is_fresh = np.append(is_fresh, np.ones(len(train) - len(is_fresh), dtype=bool))
    return Growth(data, is_fresh, len(before), len(sessions), forgotten)


def _renumbered(old: SessionData, new: NamedSessions) -> tuple[Sessions, np.ndarray]:
    """The new sessions in the numbers of the old items and, behind them, of the new ones; and all names."""
    names = pa.array(new.tokens[1:], pa.string())
    known = pc.index_in(names, value_set=pa.array(old.tokens[1:], pa.string()))
    numbers = known.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64) + 1
    clicked = np.unique(new.sessions.items)
    if not numbers[clicked - 1].any():
        raise UserError(
            f"none of the {len(clicked)} items of the new log is among the {len(old.tokens) - 1} of data set "
            f"{old.name}: this is another catalogue, or another column holds the item (--item)"
        )
    is_new = numbers == 0
    numbers[is_new] = len(old.tokens) + np.arange(np.count_nonzero(is_new))
    tokens = catalogue([*old.tokens[1:], *new.tokens[1:][is_new]])
    items = np.append(0, numbers)[new.sessions.items].astype(np.int32)
    return replace(new.sessions, items=items), tokens


def _after(sessions: Sessions, end: float, record: Record) -> Sessions:
    last = last_clicks(sessions)
    late = last > end
    if not late.any():
        raise UserError(
            f"the new log ends at {_date(last.max())} and the run's data at {_date(end)}: there is no newer session in "
            "it; name a log that goes on"
        )
    n_old = np.count_nonzero(~late)
    record.drop("session that ended when the run's data did, or before", sessions.lengths[~late].sum(), n_old)
    return take_sessions(sessions, late)


def _continued(old: Sessions, new: Sessions) -> tuple[Sessions, Sessions, np.ndarray]:
    """Let new sessions begin with the clicks of the old session that they go on with.

    Returns:
        The old sessions without those, the new ones, and which old ones are gone, bool ``[n_old]``.
    """
    place = pc.index_in(new.ids.text, value_set=old.ids.text)
    place = place.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    until = last_clicks(old)[place]
    assert new.times is not None
    begins = new.times[new.offsets[:-1]]
    goes_on = (place >= 0) & (begins <= until + SAME_SESSION_SECONDS)
    renamed = (place >= 0) & ~goes_on
    if renamed.any():
        ids = np.asarray(new.ids)
        ids[renamed] = [f"{name}@{int(begin)}" for name, begin in zip(ids[renamed], begins[renamed])]
        new = replace(new, ids=Names(ids))
    owner = np.repeat(np.arange(len(new)), new.lengths)
    new = keep_clicks(new, ~(goes_on[owner] & (new.times <= until[owner])))
    gone = np.zeros(len(old), dtype=bool)
    gone[place[goes_on]] = True
    if not gone.any():
        return old, new, gone
    first = take_sessions(old, place[goes_on])
    owner = np.concatenate(
        [np.repeat(np.flatnonzero(goes_on), first.lengths), np.repeat(np.arange(len(new)), new.lengths)]
    )
    order, both = np.argsort(owner, kind="stable"), concatenate([first, new])
    offsets = to_offsets(np.bincount(owner, minlength=len(new)))
    is_target = None
    if old.is_target is not None:
        is_target = np.append(explicit_targets(first), np.ones(len(new.items), dtype=bool))[order]
        is_target[offsets[:-1]] = False
    joined = Sessions(
        items=both.items[order],
        offsets=offsets,
        ids=new.ids,
        times=None if both.times is None else both.times[order],
        is_target=is_target,
    )
    return take_sessions(old, ~gone), joined, gone


def _supported(new: Sessions, before: Sessions, n_tokens: int, min_support: int, record: Record) -> Sessions:
    """The new sessions without rare new items, then without sessions of one click."""
    known = np.zeros(n_tokens, dtype=bool)
    known[before.items] = True
    clicks = np.bincount(new.items, minlength=n_tokens)
    kept = keep_clicks(new, (known | (clicks >= min_support))[new.items])
    record.drop(f"rare new item: clicked fewer than {min_support} times", len(new.items) - len(kept.items))
    long = take_sessions(kept, kept.lengths >= 2)
    record.drop("short session: fewer than 2 clicks", len(kept.items) - len(long.items), len(kept) - len(long))
    return by_last_click(long)


def _distinct(names: Names) -> np.ndarray:
    """Names of which no two are equal: those that come again get a number."""
    seen: dict[str, int] = {}
    result = np.asarray(names)
    for place, name in enumerate(result):
        if name in seen:
            seen[name] += 1
            result[place] = f"{name}@{seen[name]}"
        else:
            seen[name] = 1
    return result


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
