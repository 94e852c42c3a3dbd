"""What a data set holds, and what about it would spoil an experiment."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from recbole_tme.data.names import Names
from recbole_tme.data.ragged import spans
from recbole_tme.data.record import Record
from recbole_tme.data.sessions import SessionData, Sessions
from recbole_tme.data.split import SECONDS_PER_DAY

# Sessions longer than this, or a share of sessions above that lasting more than a day, are worth a warning.
_MANY_CLICKS = 1000
_MANY_LONG = 0.2

_LABELS = {
    "train_sessions": "train sessions",
    "train_prefixes": "train prefixes",
    "valid_sessions": "validation sessions",
    "valid_prefixes": "validation prefixes",
    "test_sessions": "test sessions",
    "test_prefixes": "test prefixes",
    "items": "items",
    "max_length": "longest prefix",
    "target_in_session": "test targets already in the session",
    "target_is_last_click": "test targets equal to the last click",
}


def audit(data: SessionData) -> dict:
    """Statistics and warnings of a data set.

    Returns:
        The statistics table of the protocol (``max_length`` is that of a prefix, shares are fractions of the test
        instances), then counts of what may be wrong, each 0 where all is well or None where it cannot be told:

        * ``duplicate_train_sessions``: training sessions whose clicks equal those of an earlier one;
        * ``single_click_sessions``: sessions, of any split, that give no instance;
        * ``irregular_targets``: clicks after a session's first that are no target;
        * ``lone_rows``: training sessions of three clicks and more with a single target, that is prefix rows that
          continue no other row;
        * ``tied_clicks``: clicks at the very time of the one before them in their session, whose order is
          therefore that of the file; ``tied_share`` is their share of the clicks that have one before them;
        * ``test_sessions_in_train``: test sessions whose clicks equal those of a training session;
        * ``shared_session_ids``: test sessions that bear a training session's id;
        * ``test_sessions_before_train_end``: test sessions that end before the last training click;
        * ``unseen_test_items``, ``unseen_test_targets``: items, and instances' targets, that train never clicks.
    """
    splits = {split: getattr(data, split) for split in ("train", "valid", "test") if getattr(data, split) is not None}
    known = [sessions for split, sessions in splits.items() if split != "test"]
    result = {}
    for split, sessions in splits.items():
        result[f"{split}_sessions"] = len(sessions)
        result[f"{split}_prefixes"] = sessions.n_instances
    result["items"] = len(data.tokens) - 1
    result["max_length"] = max(int(sessions.lengths.max(initial=1)) for sessions in splits.values()) - 1
    result |= _repetition(data.test)

    contents = _contents([*known, data.test])
    known_contents, test_contents = np.split(contents, [len(contents) - len(data.test)])
    result["duplicate_train_sessions"] = len(data.train) - len(np.unique(contents[: len(data.train)]))
    result["single_click_sessions"] = sum(int((s.lengths < 2).sum()) for s in splits.values())
    result["irregular_targets"] = sum(_irregular(s) for s in splits.values())
    result["lone_rows"] = _lone_rows(data.train)
    result |= _ties(list(splits.values()))
    result["test_sessions_in_train"] = int(np.isin(test_contents, known_contents).sum())
    shared = pc.is_in(data.test.ids.text, value_set=Names.joined(s.ids for s in known).text)
    result["shared_session_ids"] = pc.sum(shared).as_py() or 0
    result["test_sessions_before_train_end"] = _before_train_end(known, data.test)
    seen = np.zeros(len(data.tokens), dtype=bool)
    for sessions in known:
        seen[sessions.items] = True
    result["unseen_test_items"] = len(np.unique(data.test.items[~seen[data.test.items]]))
    result["unseen_test_targets"] = int((~seen[data.test.items[data.test.instances()[1]]]).sum())
    return result


def look_over(data: SessionData, record: Record) -> None:
    """Warn of sessions that are probably none: users' whole histories, or robots'."""
    splits = [sessions for sessions in (data.train, data.valid, data.test) if sessions is not None and len(sessions)]
    longest = max(int(sessions.lengths.max()) for sessions in splits)
    many = sum(int((sessions.lengths > _MANY_CLICKS).sum()) for sessions in splits)
    if many:
        record.warn(
            f"{many:,} sessions have more than {_MANY_CLICKS:,} clicks (the longest {longest:,}): robots, or users in "
            "place of sessions? --max-length keeps the last clicks, --user with --session-gap cuts at pauses"
        )
    if any(sessions.times is None for sessions in splits):
        return
    n_long = sum(_lasting(sessions) for sessions in splits)
    if n_long > _MANY_LONG * sum(map(len, splits)):
        record.warn(
            f"{n_long:,} of {sum(map(len, splits)):,} sessions last more than a day: is the session column a user's? "
            "--user with --session-gap cuts users' clicks at pauses"
        )


def _lasting(sessions: Sessions) -> int:
    """How many sessions with times last more than a day."""
    assert sessions.times is not None
    seconds = sessions.times[sessions.offsets[1:] - 1]
    seconds -= sessions.times[sessions.offsets[:-1]]
    return np.count_nonzero(seconds > SECONDS_PER_DAY)


def repeats(sessions: Sessions) -> np.ndarray:
    """Whether each click's item was clicked before in its session, bool ``[n_clicks]``."""
    session = np.repeat(np.arange(len(sessions)), sessions.lengths)
    order = np.lexsort((sessions.items, session))
    same = (np.diff(sessions.items[order]) == 0) & (np.diff(session[order]) == 0)
    result = np.zeros(len(order), dtype=bool)
    result[order[1:]] = same
    return result


def _repetition(test: Sessions) -> dict:
    _, target = test.instances()
    n = max(len(target), 1)
    return {
        "target_in_session": float(repeats(test)[target].sum() / n),
        "target_is_last_click": float((test.items[target] == test.items[target - 1]).sum() / n),
    }


def _irregular(sessions: Sessions) -> int:
    if sessions.is_target is None:
        return 0
    return int((~sessions.is_target).sum() - np.count_nonzero(~sessions.is_target[sessions.offsets[:-1]]))


def _lone_rows(sessions: Sessions) -> int:
    if sessions.is_target is None:
        return 0
    session, _ = sessions.instances()
    targets = np.bincount(session, minlength=len(sessions))
    return int(((targets == 1) & (sessions.lengths > 2)).sum())


def _ties(splits: list[Sessions]) -> dict:
    if any(sessions.times is None for sessions in splits):
        return {"tied_clicks": None, "tied_share": None}
    tied = pairs = 0
    for sessions in splits:
        follows = np.ones(len(sessions.items), dtype=bool)
        follows[sessions.offsets[:-1]] = False
        tied += int(((np.diff(sessions.times) == 0) & follows[1:]).sum())
        pairs += int(follows.sum())
    return {"tied_clicks": tied, "tied_share": tied / max(pairs, 1)}


def _before_train_end(known: list[Sessions], test: Sessions) -> int | None:
    if test.times is None or any(sessions.times is None for sessions in known):
        return None
    end = max(sessions.times.max() for sessions in known)
    return int((test.times[test.offsets[1:] - 1] < end).sum())


def _contents(splits: list[Sessions]) -> np.ndarray:
    """A number per session, over all splits: the same for sessions of the same clicks, and for no others."""
    items = np.concatenate([sessions.items for sessions in splits])
    lengths = np.concatenate([sessions.lengths for sessions in splits])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    result = np.empty(len(lengths), dtype=np.int64)
    n = 0
    for length in np.unique(lengths):
        same = np.flatnonzero(lengths == length)
        rows = items[spans(starts[same], lengths[same])].reshape(len(same), length)
        # Rows as single values of as many bytes, which sort faster than rows do.
        whole = (
            np.ascontiguousarray(rows).view(np.dtype((np.void, rows.itemsize * max(int(length), 1)))).ravel()
            if length
            else np.zeros(len(same))
        )
        _, codes = np.unique(whole, return_inverse=True)
        result[same] = n + codes
        n += int(codes.max()) + 1
    return result


def render(result: dict) -> str:
    """The result of :func:`audit` as lines of text: the table, then one line per warning."""
    lines = []
    for key, label in _LABELS.items():
        if key in result:
            value = result[key]
            lines.append(f"{label:<38}{f'{value:.1%}' if isinstance(value, float) else f'{value:,}':>12}")
    lines += [f"warning: {text}" for text in warnings(result)]
    return "\n".join(lines)


def warnings(result: dict) -> list[str]:
    """What is worth a look in the result of :func:`audit`, one line each."""
    texts = {
        "duplicate_train_sessions": "{n:,} training sessions repeat an earlier one click by click",
        "single_click_sessions": "{n:,} sessions have one click only and give nothing to predict",
        "irregular_targets": "{n:,} clicks after a session's first are no target in this source",
        "lone_rows": "{n:,} training sessions are prefix rows that continue no other row: prefixes of one session may "
        "lie on both sides of a validation cut",
        "tied_clicks": "{n:,} clicks ({share:.1%}) bear the time of the click before: their order is the file's, or a "
        "tie-break column's",
        "test_sessions_in_train": "{n:,} test sessions equal a training session click by click",
        "shared_session_ids": "{n:,} test sessions bear the id of a training session: a possible leak",
        "test_sessions_before_train_end": "{n:,} test sessions end before the last training click: train sees "
        "the test's future",
        "unseen_test_items": "{n:,} test items never occur in train: their embeddings stay untrained",
        "unseen_test_targets": "{n:,} test targets never occur in train",
    }
    share = result.get("tied_share") or 0.0
    return [text.format(n=result[key], share=share) for key, text in texts.items() if result[key]]
