"""Filters and splits against the same by plain loops."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recbole_tme.data import filters, ragged
from recbole_tme.data.filters import drop_unseen, filter_log, most_recent
from recbole_tme.data.ragged import keep_clicks, spans, take_sessions, without_empty
from recbole_tme.data.sessions import SessionData, Sessions
from recbole_tme.data.split import by_last_click, last_fraction, time_split, validation_cut
from recbole_tme.data.synthetic import random_dataset, toy
from recbole_tme.errors import UserError


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    """What goes block by block goes so here, too."""
    with mock.patch.object(ragged, "CLICKS_AT_ONCE", 4), mock.patch.object(filters, "CLICKS_AT_ONCE", 4):
        yield


lists = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=7), min_size=1, max_size=12)


def make(lists, times=None):
    offsets = np.concatenate(([0], np.cumsum([len(s) for s in lists]))).astype(np.int64)
    n = int(offsets[-1])
    return Sessions(
        items=np.array([i for s in lists for i in s], dtype=np.int32),
        offsets=offsets,
        ids=np.array([f"s{k}" for k in range(len(lists))], dtype=object),
        times=np.arange(n, dtype=float) if times is None else np.array(times, dtype=float),
        is_target=np.arange(n) % 3 > 0,
    )


def as_lists(sessions):
    return [sessions[s].tolist() for s in range(len(sessions))]


def clicks_of(sessions):
    """Per session its name and each click with all that belongs to it: nothing may get out of step."""
    columns = zip(sessions.items.tolist(), sessions.times.tolist(), sessions.is_target.tolist())
    flat = list(columns)
    return [(sessions.ids[s], flat[sessions.offsets[s] : sessions.offsets[s + 1]]) for s in range(len(sessions))]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), max_size=8))
def test_spans(parts):
    starts, lengths = (np.array([p[k] for p in parts], dtype=np.int64) for k in (0, 1))
    assert spans(starts, lengths).tolist() == [a + k for a, n in parts for k in range(n)]


@given(lists, st.data(), st.booleans())
@settings(deadline=None)
def test_take_and_keep(lists, data, in_place):
    sessions = make(lists)
    index = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=6))
    before = clicks_of(sessions)
    taken = take_sessions(sessions, np.array(index, dtype=np.int64), in_place)
    assert clicks_of(taken) == [before[k] for k in index]
    assert in_place or clicks_of(sessions) == before
    sessions = make(lists)
    keep = data.draw(st.lists(st.booleans(), min_size=len(sessions.items), max_size=len(sessions.items)))
    kept = keep_clicks(sessions, np.array(keep), in_place)
    flags = iter(keep)
    expected = [(name, [c for c in clicks if next(flags)]) for name, clicks in before]
    assert clicks_of(kept) == expected and (in_place or clicks_of(sessions) == before)
    assert clicks_of(without_empty(kept)) == [(name, clicks) for name, clicks in expected if clicks]


def test_arrays_that_cannot_be_written_to_are_copied():
    sessions = make([[1, 2], [3]])
    sessions.items.flags.writeable = False
    assert as_lists(keep_clicks(sessions, np.array([False, True, True]), in_place=True)) == [[2], [3]]
    assert as_lists(take_sessions(sessions, np.array([1, 0]), in_place=True)) == [[3], [1, 2]]
    assert sessions.items.tolist() == [1, 2, 3]


def filter_slowly(sessions, min_support, min_length, max_length):
    if max_length is not None:
        sessions = [s[-max_length:] for s in sessions]
    while True:
        before = sum(map(len, sessions))
        sessions = [s for s in sessions if len(s) >= min_length]
        counts = {}
        for s in sessions:
            for i in s:
                counts[i] = counts.get(i, 0) + 1
        sessions = [[i for i in s if counts[i] >= min_support] for s in sessions]
        if sum(map(len, sessions)) == before:
            return sessions


@given(lists, st.integers(1, 4), st.integers(2, 3), st.none() | st.integers(2, 4), st.booleans())
@settings(deadline=None)
def test_filters_match_a_loop_and_leave_nothing_to_filter(lists, min_support, min_length, max_length, in_place):
    expected = filter_slowly(lists, min_support, min_length, max_length)
    if not expected:
        with pytest.raises(UserError, match="leave no click"):
            filter_log(make(lists), min_support, min_length, max_length)
        return
    found = filter_log(make(lists), min_support, min_length, max_length, in_place=in_place)
    assert as_lists(found) == expected
    assert found.lengths.min() >= min_length
    assert np.bincount(found.items)[np.unique(found.items)].min() >= min_support


def test_most_recent_clicks_are_kept():
    assert as_lists(most_recent(make([[1, 2, 3, 4], [5], [6, 7]]), 2)) == [[3, 4], [5], [6, 7]]


def test_unseen_items_go_then_sessions_too_short():
    train, test = make([[1, 2], [2, 3]]), make([[1, 9, 2], [9, 1], [3, 3], [8, 9]])
    assert as_lists(drop_unseen(test, train)) == [[1, 2], [3, 3]]


@given(lists, st.floats(0.05, 0.95))
def test_ratio_split_keeps_sessions_whole_and_in_order(lists, ratio):
    sessions = make(lists)
    n_test = round(len(lists) * ratio)
    assume(0 < n_test < len(lists))
    train, test = time_split(sessions, test_ratio=ratio)
    assert as_lists(train) == lists[:-n_test] and as_lists(test) == lists[-n_test:]
    assert clicks_of(train) + clicks_of(test) == clicks_of(sessions)


def test_days_split():
    day = 86_400.0
    times = [0, 1, day, day + 1, 2 * day, 2 * day + 1, 3 * day, 3 * day + 1]
    sessions = make([[1, 2]] * 4, times)
    assert [len(part) for part in time_split(sessions, test_days=1)] == [3, 1]
    assert [len(part) for part in time_split(sessions, test_days=1.5)] == [2, 2]
    assert [len(part) for part in time_split(sessions, test_days=2)] == [2, 2]
    with pytest.raises(UserError, match="span 3 days"):
        time_split(sessions, test_days=4)


def test_order_by_last_click_is_stable():
    sessions = make([[1, 2], [3], [4, 5]], [0, 9, 5, 7, 9])
    assert by_last_click(sessions).ids.tolist() == ["s1", "s0", "s2"]


def test_last_fraction_keeps_the_most_recent():
    sessions = make([[k, k] for k in range(1, 9)])
    assert as_lists(last_fraction(sessions, 0.25)) == [[7, 7], [8, 8]]
    assert as_lists(last_fraction(sessions, 0.001)) == [[8, 8]]
    assert len(last_fraction(sessions, 1)) == 8


@given(st.integers(10, 60), st.floats(0.05, 0.95))
@settings(deadline=None, max_examples=40)
def test_validation_cut_takes_the_last_sessions_whole(n_sessions, ratio):
    data = random_dataset("r", n_sessions, 9, seed=n_sessions)
    n = len(data.train)
    n_valid = round(n * ratio)
    assume(0 < n_valid < n)
    cut = validation_cut(data, ratio)
    assert cut.train.ids.tolist() == data.train.ids[: n - n_valid].tolist()
    assert cut.valid.ids.tolist() == data.train.ids[n - n_valid :].tolist()
    assert clicks_plain(cut.train) + clicks_plain(cut.valid) == clicks_plain(data.train)
    assert len(cut.train.instances()[0]) + len(cut.valid.instances()[0]) == len(data.train.instances()[0])
    assert cut.test is data.test and cut.tokens is data.tokens


def clicks_plain(sessions):
    return list(zip(as_lists(sessions), sessions.times[sessions.offsets[:-1]].tolist()))


@pytest.mark.parametrize("ratio", [0, 1, -0.1, 1.5, float("nan"), True, "0.1", None, 1e-9, 1 - 1e-9])
def test_validation_ratio_that_leaves_a_side_empty(ratio):
    with pytest.raises(UserError, match="valid_ratio"):
        validation_cut(toy(), ratio)


def test_validation_cut_without_instances_on_a_side():
    sessions = make([[1, 2], [3]])
    data = SessionData(
        "d", Sessions(sessions.items, sessions.offsets, sessions.ids), sessions, np.array(["[PAD]", *"abc"])
    )
    with pytest.raises(UserError, match="no validation session with two clicks"):
        validation_cut(data, 0.5)


def test_a_data_set_with_its_own_validation_sessions_keeps_them():
    data = validation_cut(toy(), 0.2)
    assert validation_cut(data, 0.5) is data
