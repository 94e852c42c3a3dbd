"""The baselines without gradients: the common tests, and each against a slow reading of its definition."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.loop_scores import (
    loop_last_item_knn,
    loop_mix,
    loop_own_items,
    loop_own_items_first,
    loop_sfsknn,
    loop_sknn,
    loop_spop,
    loop_spop_stan,
    loop_sr,
    loop_stan,
    loop_vsknn,
    loop_vstan,
)
from helpers.stock_recbole import make_sessions
from helpers.training_free import (
    MIXES,
    MODELS,
    N_ITEMS,
    NEIGHBOURS,
    batch_of,
    build,
    config_of,
    order_of,
    scores_of,
    tokens,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_tme import testing
from recbole_tme.config.declared import model_keys
from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.sessions import SessionData
from recbole_tme.models import registry

CASES = [
    ("SKNN", loop_sknn, {}),
    ("SKNN", loop_sknn, {"k": 2, "sample_size": 3, "idf_power": 1.0, "norm_power": 1.0}),
    ("VSKNN", loop_vsknn, {"k": 3, "idf_power": 2.0, "norm_power": 0.5, "weighting": "quadratic"}),
    ("BaselineMix", loop_mix, {}),
    ("BaselineMix", loop_mix, {"first": "VSTAN", "second": "SKNN", "second_weight": 0.5, "own_weight": 0.3}),
    ("BaselineMix", loop_mix, {"first": "STAN", "second": "none", "own_weight": 2.0, "tie_break": "popularity"}),
    ("OwnItemsFirst", loop_own_items_first, {}),
    ("OwnItemsFirst", loop_own_items_first, {"second": "SR", "second_weight": 2.0, "tie_break": "popularity"}),
    ("OwnItems", loop_own_items, {}),
    ("SPop", loop_spop, {}),
    ("SPop", loop_spop, {"tie_break": "popularity"}),
    ("SR", loop_sr, {}),
    ("SR", loop_sr, {"max_steps": 2, "n_rules": 2}),
    ("SR", loop_sr, {"max_steps": 5, "weighting": "log"}),
    ("SFSKNN", loop_sfsknn, {}),
    ("SFSKNN", loop_sfsknn, {"k": 2, "sample_size": 3, "idf_power": 1.0}),
    ("LastItemKNN", loop_last_item_knn, {}),
    ("LastItemKNN", loop_last_item_knn, {"shrink": 0.0, "k": 2}),
    ("VSKNN", loop_vsknn, {}),
    ("VSKNN", loop_vsknn, {"k": 2, "sample_size": 3, "weighting": "quadratic", "idf_weight": 0.0}),
    ("STAN", loop_stan, {}),
    ("STAN", loop_stan, {"k": 2, "sample_size": 3, "lambda_spw": 0.7, "lambda_snh": 0.4, "lambda_inh": 1.5}),
    ("VSTAN", loop_vstan, {}),
    ("VSTAN", loop_vstan, {"k": 3, "lambda_snh": 0.3, "lambda_ipw": 0.9, "idf_weight": 1.0}),
    ("SPopSTAN", loop_spop_stan, {}),
    ("SPopSTAN", loop_spop_stan, {"k": 2, "tie_break": "popularity", "lambda_snh": 0.4}),
]
# Items 10..12 may be clicked in a session although training never saw them.
train_sessions = st.lists(st.lists(st.integers(1, 9), min_size=2, max_size=7), min_size=1, max_size=8)
current_sessions = st.lists(st.integers(1, N_ITEMS), min_size=1, max_size=8)


@pytest.mark.parametrize(("model", "loop", "given_settings"), CASES, ids=lambda value: getattr(value, "__name__", None))
@settings(max_examples=40, deadline=None)
@given(train=train_sessions, session=current_sessions)
def test_scores_are_those_of_the_definition(model, loop, given_settings, train, session):
    found = scores_of(build(model, train, **given_settings), session)
    np.testing.assert_allclose(found[1:], loop(train, session, **given_settings)[1:], rtol=2e-6, atol=1e-30)


# The common tests


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "check",
    [
        testing.check_shapes,
        testing.check_batch_mates,
        testing.check_padding,
        testing.check_extreme_sessions,
        testing.check_prediction_is_deterministic,
        testing.check_state_round_trip,
    ],
    ids=lambda check: check.__name__,
)
def test_common_checks(model, check):
    check(testing.Workbench(model))


@pytest.mark.parametrize("model", ["OwnItems", "SPop"])
def test_common_relabelling_check_of_models_with_one_row_per_item(model):
    testing.check_relabelling(testing.Workbench(model))


@pytest.mark.parametrize("model", MODELS)
def test_renaming_the_items_of_train_and_session_renames_the_scores(model):
    rng = np.random.default_rng(3)
    train = [rng.integers(1, N_ITEMS + 1, rng.integers(2, 8)).tolist() for _ in range(30)]
    new_id = [0, *(rng.permutation(N_ITEMS) + 1).tolist()]
    before = build(model, train, **small(model))
    after = build(model, [[new_id[item] for item in clicks] for clicks in train], **small(model))
    for _ in range(10):
        session = rng.integers(1, N_ITEMS + 1, rng.integers(1, 8)).tolist()
        renamed = scores_of(after, [new_id[item] for item in session])
        assert [renamed[new_id[item]] for item in range(1, N_ITEMS + 1)] == scores_of(before, session)[1:]


def small(model: str) -> dict:
    """Settings that make the cuts to k sessions, items or rules bite on small data."""
    cuts = {"k": 4, "sample_size": 9, "n_rules": 3}
    cuts |= {"sknn_k": 4, "stan_k": 4, "stan_sample_size": 9, "sr_n_rules": 3}
    return {key: value for key, value in cuts.items() if key in model_keys(registry.resolve(model))}


@pytest.mark.parametrize("model", MODELS)
def test_state_is_the_whole_model_whatever_sessions_the_other_was_built_from(model):
    rng = np.random.default_rng(4)
    train = [rng.integers(1, N_ITEMS + 1, rng.integers(2, 8)).tolist() for _ in range(30)]
    full, session = build(model, train), [3, 5, 3, 8]
    expected = scores_of(full, session)
    config = config_of(model)
    other = build(model, [[1, 2], [4, 3, 5, 9]])
    empty = config.model_class(config, SimpleNamespace(num=lambda field: N_ITEMS + 1))
    for receiver in (other, empty):
        # Whatever scoring has prepared from the old state must not outlive it.
        assert scores_of(receiver, session) != expected
        receiver.load_state_dict(full.state_dict())
        assert scores_of(receiver, session) == expected
    assert scores_of(full, session) == expected


@pytest.mark.parametrize("model", MODELS)
def test_state_can_be_stored_and_holds_no_array_twice(model):
    state = build(model, [[1, 2, 3], [2, 3]]).state_dict()
    assert all(value.is_contiguous() for value in state.values())
    assert len({value.data_ptr() for value in state.values() if value.numel()}) == len(state)


@pytest.mark.parametrize("model", ["OwnItems", "SPop", "SR", "LastItemKNN"])
def test_state_of_another_catalogue_is_refused(model):
    config = config_of(model)
    other = config.model_class(config, SimpleNamespace(num=lambda field: N_ITEMS + 2))
    with pytest.raises(RuntimeError, match="size mismatch"):
        other.load_state_dict(build(model, [[1, 2]]).state_dict())


@pytest.mark.parametrize("model", MODELS)
def test_training_changes_nothing(model):
    built = build(model, [[1, 2, 3], [2, 3]])
    before = scores_of(built, [2, 1])
    optimizer = torch.optim.Adam(built.parameters(), lr=1.0, weight_decay=1e-5)
    loss = built.calculate_loss(batch_of([[1, 2]]))
    loss.backward()
    optimizer.step()
    assert loss.item() == 0
    assert scores_of(built, [2, 1]) == before


@pytest.mark.parametrize("model", MODELS)
def test_only_training_sessions_are_learnt_from(model):
    train, later = [[1, 2, 3], [3, 4, 1]], [[1, 9], [9, 9, 2]]
    config = config_of(model)
    splits = {"train": make_sessions(train, "s"), "valid": make_sessions(later, "v"), "test": make_sessions(later, "t")}
    data = SessionData("toy", **splits, tokens=tokens())
    built = config.model_class(config, SessionDataset(config, data).build()[0])
    for session in ([1], [9], [2, 9, 3]):
        assert scores_of(built, session) == scores_of(build(model, train), session)


# What each of them is for


def test_own_items_are_above_all_others_and_most_recent_first():
    model = build("OwnItems", [[1, 2, 2], [2, 3, 1]])
    assert order_of(model, [5, 3, 6, 3, 4])[:4] == [4, 3, 6, 5]
    assert order_of(model, [5])[:4] == [5, 2, 1, 3]


def test_session_popularity_counts_then_breaks_ties_as_told():
    train = [[6, 6, 6, 7], [7, 6]]
    assert order_of(build("SPop", train), [5, 6, 7, 5, 6, 8])[:4] == [6, 5, 8, 7]
    assert order_of(build("SPop", train, tie_break="popularity"), [5, 6, 7, 5, 6, 8])[:4] == [6, 5, 7, 8]


def test_scores_of_thousands_of_distinct_counts_stay_apart():
    config = config_of("OwnItems")
    model = config.model_class(config, SimpleNamespace(num=lambda field: 40_001))
    model.popularity.copy_(torch.arange(40_001))
    scores = model.full_sort_predict(batch_of([[7]]))[0]
    others = torch.cat([scores[:7], scores[8:]])
    assert (others.diff() > 0).all() and others[-1] < scores[7]


def test_sequential_rules_know_direction_and_distance():
    model = build("SR", [[1, 2, 3, 4]])
    scores = scores_of(model, [9, 1])
    assert scores[2:5] == pytest.approx([1, 1 / 2, 1 / 3], rel=2e-5)
    assert not any(scores_of(model, [4]))
    assert scores_of(build("SR", [[1, 2, 3, 4]], max_steps=1), [1])[3] == 0


def test_sequential_rules_count_an_item_that_follows_itself():
    assert scores_of(build("SR", [[1, 1]]), [1])[1] == pytest.approx(1, rel=2e-5)


def test_item_neighbours_share_sessions_whatever_the_order():
    train = [[1, 2, 2], [2, 1], [1, 3]]
    scores = scores_of(build("LastItemKNN", train, shrink=0.0), [5, 1])
    assert scores[1] == 0
    assert scores[2:4] == pytest.approx([2 / math.sqrt(3 * 2), 1 / math.sqrt(3)], rel=2e-5)
    shrunk = scores_of(build("LastItemKNN", train, shrink=20.0), [5, 1])
    assert shrunk[2:4] == pytest.approx([2 / math.sqrt(23 * 22), 1 / math.sqrt(23 * 21)], rel=2e-5)


@pytest.mark.parametrize("model", ["VSKNN", "STAN", "VSTAN"])
def test_sessions_that_share_the_last_click_weigh_more(model):
    scores = scores_of(build(model, [[2, 5], [1, 4], [2, 5]]), [1, 3, 2])
    assert scores[5] > scores[4] > 0


@pytest.mark.parametrize("model", ["SKNN", "VSKNN", "STAN", "VSTAN"])
def test_of_equal_sessions_the_recent_ones_are_neighbours(model):
    train = [[1, 4], [1, 5], [1, 6]]
    assert [bool(score) for score in scores_of(build(model, train, k=1), [1])[4:7]] == [False, False, True]
    # The most similar session is not looked at where it is not among the most recent ones.
    train = [[1, 2, 4], [1, 5], [1, 6]]
    assert [bool(score) for score in scores_of(build(model, train, sample_size=2), [1, 2])[4:7]] == [False, True, True]


@pytest.mark.parametrize("model", ["SR", "LastItemKNN", *NEIGHBOURS])
def test_of_equal_scores_the_item_clicked_later_in_training_is_first(model):
    order = order_of(build(model, [[1, 4], [2, 3], [1, 5]]), [1])
    assert order.index(5) < order.index(4)


@pytest.mark.parametrize("model", ["VSKNN", "VSTAN"])
def test_rare_items_weigh_more_as_told(model):
    train = [[1, 4, 5], [2, 4], [3, 4]]
    scores = scores_of(build(model, train, idf_weight=2.0), [1])
    flat = scores_of(build(model, train, idf_weight=0.0), [1])
    assert scores[5] / flat[5] == pytest.approx(1 + 2 * math.log(3), rel=1e-5)
    assert scores[4] / flat[4] == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("model", ["STAN", "VSTAN"])
def test_old_sessions_fade_as_told(model):
    train = [[1, 4], [2, 3], [2, 3], [1, 5]]
    scores = scores_of(build(model, train, lambda_snh=0.5), [1])
    assert scores[5] / scores[4] == pytest.approx(math.exp((3 / 4) / 0.5), rel=3e-5)
    scores = scores_of(build(model, train, lambda_snh=0.0), [1])
    assert scores[5] / scores[4] == pytest.approx(1, rel=3e-5)


@pytest.mark.parametrize("model", ["STAN", "VSTAN"])
def test_items_far_from_the_match_fade_on_either_side(model):
    scores = scores_of(build(model, [[4, 5, 1, 6, 7]], lambda_inh=2.0), [1])
    fading = [math.exp(-distance / 2) * scores[1] for distance in (2, 1, 1, 2)]
    assert scores[4:8] == pytest.approx(fading, rel=3e-5)


def test_the_match_is_the_most_recent_click_of_the_session_that_the_neighbour_shares():
    # Item 1 comes last in the neighbour, but 2 was clicked last in the session.
    scores = scores_of(build("STAN", [[2, 4, 5, 6, 1]], lambda_inh=1.0), [1, 2])
    assert scores[4] > scores[5] > scores[6]


def test_vstan_fades_neighbours_whose_match_is_long_ago():
    scores = {
        decay: scores_of(build("VSTAN", [[1, 4], [2, 5]], lambda_ipw=decay, idf_weight=0.0), [1, 3, 3, 2])
        for decay in (1.0, 1e9)
    }
    # The match with [1, 4] is three clicks old.
    assert scores[1.0][4] / scores[1e9][4] == pytest.approx(math.exp(-3), rel=1e-5)
    assert scores[1.0][5] == pytest.approx(scores[1e9][5], rel=1e-5)


def test_vstan_without_its_two_parts_is_stan():
    rng = np.random.default_rng(5)
    train = [rng.integers(1, N_ITEMS + 1, rng.integers(2, 8)).tolist() for _ in range(30)]
    stan, vstan = build("STAN", train), build("VSTAN", train, lambda_ipw=1e12, idf_weight=0.0)
    assert scores_of(vstan, [3, 4, 5]) == pytest.approx(scores_of(stan, [3, 4, 5]), rel=1e-6)


def test_spop_stan_puts_own_items_first_and_the_rest_as_stan_does():
    rng = np.random.default_rng(6)
    train = [rng.integers(1, N_ITEMS + 1, rng.integers(2, 8)).tolist() for _ in range(40)]
    both, spop, stan = (build(name, train) for name in ("SPopSTAN", "SPop", "STAN"))
    for session in ([1], [2, 3, 2], [7, 8, 9, 7, 8, 1]):
        n = len(set(session))
        assert order_of(both, session)[:n] == order_of(spop, session)[:n]
        assert order_of(both, session)[n:] == [item for item in order_of(stan, session) if item not in session]


@pytest.mark.parametrize("session", [[1], [2, 3, 2], [7, 8, 9, 7, 8, 1]])
def test_the_mix_behind_the_own_items_is_that_of_the_others_alone(session):
    rng = np.random.default_rng(7)
    train = [rng.integers(1, N_ITEMS + 1, rng.integers(2, 8)).tolist() for _ in range(40)]
    first, spop, stan = build("OwnItemsFirst", train, first="STAN"), build("SPop", train), build("STAN", train)
    n = len(set(session))
    assert order_of(first, session)[:n] == order_of(spop, session)[:n]
    others = [item for item in order_of(stan, session) if item not in session]
    assert order_of(first, session)[n:] == others
    # The best of the others has the score 1, whatever the own items would have scored.
    assert scores_of(first, session)[others[0]] == pytest.approx(1)


@pytest.mark.parametrize("model", [*NEIGHBOURS, *MIXES])
def test_scores_are_the_same_bits_alone_and_among_a_thousand_others(model, monkeypatch):
    from recbole_tme.models.training_free import neighbours

    monkeypatch.setattr(neighbours, "SCORES_AT_ONCE", 40)
    rng = np.random.default_rng(8)
    train = [rng.integers(1, N_ITEMS + 1, rng.integers(2, 8)).tolist() for _ in range(60)]
    built = build(model, train, **small(model))
    sessions = [rng.integers(1, N_ITEMS + 1, rng.integers(1, 9)).tolist() for _ in range(50)]
    together = built.full_sort_predict(batch_of(sessions))
    for row, session in zip(together, sessions):
        assert torch.equal(row, built.full_sort_predict(batch_of([session]))[0])


@pytest.mark.parametrize("model", NEIGHBOURS)
def test_a_session_of_unknown_items_scores_nothing(model):
    assert not any(scores_of(build(model, [[1, 2], [2, 3]]), [10, 11]))
