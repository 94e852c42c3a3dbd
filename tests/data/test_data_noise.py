"""Random clicks inserted into sessions: what stays, what is added, and how much."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_tme.data.noise import insert_random_items
from recbole_tme.data.sessions import Sessions

N_ITEMS = 50


@st.composite
def sessions(draw):
    lists = draw(st.lists(st.lists(st.integers(1, 10), min_size=1, max_size=8), min_size=1, max_size=12))
    n = sum(map(len, lists))
    targets = draw(st.one_of(st.none(), st.lists(st.booleans(), min_size=n, max_size=n).map(np.array)))
    return Sessions(
        items=np.concatenate(lists).astype(np.int32),
        offsets=np.cumsum([0, *map(len, lists)]),
        ids=np.array([f"s{k}" for k in range(len(lists))], dtype=object),
        times=np.arange(n, dtype=float),
        is_target=targets,
    )


def instances(part: Sessions) -> list[tuple[int, list[int], int]]:
    """Session, prefix and target of each instance."""
    session, target = part.instances()
    return [(s, part.items[part.offsets[s] : t].tolist(), int(part.items[t])) for s, t in zip(session, target)]


def is_subsequence(short, long) -> bool:
    rest = iter(long)
    return all(any(item == other for other in rest) for item in short)


def shown_clicks(part: Sessions) -> int:
    """Clicks that stand before a later target of their session, counted one by one."""
    session, target = part.instances()
    return sum(
        any(s == i and t > k for s, t in zip(session, target))
        for i in range(len(part))
        for k in range(part.offsets[i], part.offsets[i + 1])
    )


@settings(max_examples=200, deadline=None)
@given(sessions(), st.floats(0, 1), st.integers(0, 99))
def test_every_instance_keeps_its_session_its_target_and_its_own_clicks_in_order(before, rate, seed):
    after = insert_random_items(before, rate, N_ITEMS, seed)
    assert after.ids.tolist() == before.ids.tolist()
    old, new = instances(before), instances(after)
    assert [(s, target) for s, _, target in new] == [(s, target) for s, _, target in old]
    for (_, prefix, _), (_, noisy, _) in zip(old, new):
        assert is_subsequence(prefix, noisy) and noisy[:1] == prefix[:1]
        # A click is followed by one inserted click at most.
        assert len(prefix) <= len(noisy) <= 2 * len(prefix)
    assert after.items.min() >= 1 and after.items.max() <= N_ITEMS and after.items.dtype == np.int32
    assert after.times is None


@settings(max_examples=100, deadline=None)
@given(sessions(), st.floats(0, 1), st.integers(0, 99))
def test_as_many_clicks_are_inserted_as_asked(before, rate, seed):
    after = insert_random_items(before, rate, N_ITEMS, seed)
    shown = shown_clicks(before)
    assert len(after.items) - len(before.items) == round(rate * shown)
    # All of them where some prefix shows them.
    assert shown_clicks(after) == shown + round(rate * shown)


@settings(max_examples=50, deadline=None)
@given(sessions())
def test_rate_zero_changes_no_instance(before):
    after = insert_random_items(before, 0.0, N_ITEMS)
    assert instances(after) == instances(before)
    assert after.items.tolist() == before.items.tolist() and after.offsets.tolist() == before.offsets.tolist()


@settings(max_examples=100, deadline=None)
@given(sessions(), st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
def test_a_higher_rate_inserts_what_a_lower_one_does_and_more(before, one, other, seed):
    low, high = (insert_random_items(before, rate, N_ITEMS, seed) for rate in sorted((one, other)))
    for (_, fewer, _), (_, more, _) in zip(instances(low), instances(high)):
        assert is_subsequence(fewer, more)


def plenty(n_sessions=4000, length=5) -> Sessions:
    return Sessions(
        items=np.ones(n_sessions * length, dtype=np.int32),
        offsets=np.arange(0, n_sessions * length + 1, length),
        ids=np.arange(n_sessions).astype(str),
    )


def test_places_and_items_are_uniform():
    before = plenty()
    after = insert_random_items(before, 0.25, N_ITEMS, seed=1)
    inserted = after.items[after.items > 1]
    # One item of the catalogue, 1, cannot be told from the sessions' own.
    counts = np.bincount(inserted, minlength=N_ITEMS + 1)[2:]
    assert counts.size == 49 and abs(counts - 80).max() < 5 * np.sqrt(80)
    behind = [prefix for s, prefix, _ in instances(after) if len([i for i in prefix if i == 1]) == 4]
    last_is_noise = np.mean([prefix[-1] > 1 for prefix in behind])
    assert abs(last_is_noise - 0.25 * 49 / 50) < 0.03


def test_the_seed_decides():
    before = plenty(50)
    results = [insert_random_items(before, 0.3, N_ITEMS, seed).items.tolist() for seed in (0, 0, 1)]
    assert results[0] == results[1] != results[2]


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_impossible_rates(rate):
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        insert_random_items(plenty(2), rate, N_ITEMS)
