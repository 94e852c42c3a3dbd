"""The statistics table and the warnings, against loops and made-up faults."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_tme.data.checks import audit, render, repeats
from recbole_tme.data.sessions import SessionData, Sessions
from recbole_tme.data.split import validation_cut
from recbole_tme.data.synthetic import random_dataset, random_sessions, toy

lists = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=7), min_size=1, max_size=8)


def make(lists, first_id=0, times=None, is_target=None):
    offsets = np.concatenate(([0], np.cumsum([len(s) for s in lists]))).astype(np.int64)
    return Sessions(
        items=np.array([i for s in lists for i in s], dtype=np.int32),
        offsets=offsets,
        ids=np.array([str(first_id + k) for k in range(len(lists))], dtype=object),
        times=None if times is None else np.array(times, dtype=float),
        is_target=None if is_target is None else np.array(is_target),
    )


def make_data(train, test, **train_more):
    return SessionData("d", make(train, **train_more), make(test, 1000), np.array(["[PAD]", *"abcde"], dtype=object))


def faults(result):
    keys = list(result)
    return {key: result[key] for key in keys[keys.index("duplicate_train_sessions") :]}


@given(lists)
@settings(deadline=None)
def test_repeats_match_a_loop(lists):
    expected = [item in s[:k] for s in lists for k, item in enumerate(s)]
    assert repeats(make(lists)).tolist() == expected


@given(lists, lists)
@settings(deadline=None)
def test_statistics_match_a_loop(train, test):
    result = audit(make_data(train, test))
    pairs = [(s[:k], s[k]) for s in test for k in range(1, len(s))]
    n = max(len(pairs), 1)
    assert result["train_prefixes"] == sum(len(s) - 1 for s in train)
    assert result["test_prefixes"] == len(pairs)
    assert result["max_length"] == max(len(s) for s in train + test) - 1
    assert result["target_in_session"] == pytest.approx(sum(t in p for p, t in pairs) / n)
    assert result["target_is_last_click"] == pytest.approx(sum(t == p[-1] for p, t in pairs) / n)
    assert result["duplicate_train_sessions"] == len(train) - len({tuple(s) for s in train})
    assert result["test_sessions_in_train"] == sum(s in train for s in test)
    seen = {i for s in train for i in s}
    assert result["unseen_test_items"] == len({i for s in test for i in s} - seen)
    assert result["unseen_test_targets"] == sum(t not in seen for _, t in pairs)
    assert result["single_click_sessions"] == sum(len(s) == 1 for s in train + test)


def test_a_sound_data_set_has_no_faults_but_what_chance_repeats():
    result = faults(audit(random_dataset("r", 60, 50, mean_length=9, seed=3)))
    assert {key: value for key, value in result.items() if value} == {}


def test_ties_in_time():
    data = make_data([[1, 2, 3], [2, 3]], [[1, 2]])
    assert audit(data)["tied_clicks"] is None and audit(data)["test_sessions_before_train_end"] is None
    train = make([[1, 2, 3], [2, 3]], times=[5, 5, 6, 6, 6])
    test = make([[1, 2]], 9, times=[6, 7])
    result = audit(SessionData("d", train, test, data.tokens))
    # The second session's first click is at the time of the first session's last, which is no tie.
    assert result["tied_clicks"] == 2 and result["tied_share"] == pytest.approx(2 / 4)


def test_overlap_in_time_and_in_names():
    train = make([[1, 2], [2, 3]], times=[0, 10, 0, 20])
    test = make([[1, 2], [3, 1]], 1, times=[5, 15, 15, 25])
    result = audit(SessionData("d", train, test, np.array(["[PAD]", *"abc"])))
    assert result["test_sessions_before_train_end"] == 1
    assert result["shared_session_ids"] == 1
    assert result["test_sessions_in_train"] == 1


def test_validation_sessions_count_as_known():
    data = validation_cut(toy(), 0.2)
    result, whole = audit(data), audit(toy())
    assert result["valid_sessions"] == 192 and result["train_sessions"] == 768
    assert result["unseen_test_items"] == 0 == whole["unseen_test_items"]
    assert result["test_sessions_in_train"] == whole["test_sessions_in_train"]


def test_irregular_targets_and_lone_rows():
    flags = [False, False, False, True, False, True, True]
    result = audit(make_data([[1, 2, 3, 4], [1, 2, 3]], [[1, 2]], is_target=flags))
    assert result["irregular_targets"] == 2 and result["lone_rows"] == 1
    assert result["train_prefixes"] == 3


def test_rendered_lines():
    data = make_data([[1, 2, 1], [1, 2, 1]], [[1, 1, 4], [1]])
    text = render(audit(data))
    lines = [line.split("  ") for line in text.splitlines()]
    assert ["train sessions", "2"] in [[p.strip() for p in line if p.strip()] for line in lines]
    assert "50.0%" in text
    warned = [line for line in text.splitlines() if line.startswith("warning: ")]
    assert any("1 training sessions repeat" in line for line in warned)
    assert any("1 sessions have one click" in line for line in warned)
    assert any("1 test items never occur" in line for line in warned)
    assert len(warned) == 4
    sound = render(audit(dataclasses.replace(data, train=make([[1, 2], [4, 1]]), test=make([[1, 4]], 9))))
    assert "warning" not in sound


def successors(data):
    """What follows each item, in train and test; fails where an item has two successors."""
    following = {}
    for sessions in (data.train, data.test):
        for s in range(len(sessions)):
            for a, b in zip(sessions[s][:-1].tolist(), sessions[s][1:].tolist()):
                assert following.setdefault(a, b) == b
    return following


def test_toy_follows_its_rule():
    data = toy()
    following = successors(data)
    # 16 chains of 5 items: all but the last of each chain have a successor, and no two share one.
    assert len(following) == len(set(following.values())) == 16 * 4
    assert set(data.train.items) == set(range(1, 81))
    assert 2000 < len(data.train.items) < 10_000
    assert np.diff(data.train.times).min() > 0


def test_synthetic_data_is_its_seed():
    assert toy(seed=1).train.items.tolist() == toy(seed=1).train.items.tolist()
    assert toy(seed=1).train.items.tolist() != toy(seed=2).train.items.tolist()
    a, b = (random_sessions(50, 20, seed=4) for _ in range(2))
    assert a.items.tolist() == b.items.tolist() and a.offsets.tolist() == b.offsets.tolist()


@given(st.integers(1, 20), st.integers(2, 9), st.integers(0, 5))
@settings(deadline=None, max_examples=30)
def test_toy_of_any_size_has_chains(n_chains, chain_length, seed):
    data = toy(n_chains=n_chains, chain_length=chain_length, n_sessions=5 * n_chains, seed=seed)
    assert len(data.tokens) == n_chains * chain_length + 1
    assert len(successors(data)) == n_chains * (chain_length - 1)


def test_random_sessions_have_the_shape_asked_for():
    sessions = random_sessions(4000, 1000, mean_length=6, max_length=15, exponent=1.0, repeat=0.3, seed=0)
    assert sessions.lengths.min() >= 2 and sessions.lengths.max() == 15
    assert sessions.lengths.mean() == pytest.approx(6, abs=0.5)
    assert sessions.items.min() >= 1 and sessions.items.max() <= 1000
    clicks = np.bincount(sessions.items, minlength=1001)
    assert clicks[1] > clicks[10] > clicks[100] > 0
    # Chance alone repeats popular items now and then.
    without = repeats(random_sessions(4000, 1000, mean_length=6, max_length=15, repeat=0.0, seed=0)).mean()
    assert repeats(sessions).mean() > without + 0.1
    assert np.diff(sessions.times).min() > 0
