"""The baselines without gradients: the common tests, and each against a slow reading of its definition."""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter, defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.stock_recbole import SPLITS, make_config, make_data, make_sessions, stock_data, write_presplit
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.data.interaction import Interaction
from recbole.trainer import Trainer

from recbole_tme import testing
from recbole_tme.config.declared import model_keys
from recbole_tme.config.load import load_config
from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.loader import build_loaders
from recbole_tme.data.sessions import PAD_TOKEN, SessionData
from recbole_tme.data.split import validation_cut
from recbole_tme.data.synthetic import toy
from recbole_tme.evaluation.ranks import rank_all
from recbole_tme.experiment.run import run
from recbole_tme.models import registry
from recbole_tme.models.training_free.clicks import train_clicks
from recbole_tme.schema.property_files import properties_root
from recbole_tme.schema.yamlfile import read_settings

NEIGHBOURS = ["SKNN", "SFSKNN", "VSKNN", "STAN", "VSTAN"]
MIXES = ["BaselineMix", "OwnItemsFirst"]
MODELS = ["OwnItems", "SPop", "SPopSTAN", "SR", "LastItemKNN", *NEIGHBOURS, *MIXES]
N_ITEMS = 12
FIXED = {"device": "cpu", "MAX_ITEM_LIST_LENGTH": 12, "show_progress": False}
CPU = torch.device("cpu")


@functools.lru_cache(maxsize=256)
def config_of(model: str, given_settings: tuple = ()):
    return load_config(model, "toy", config_dict=FIXED | dict(given_settings))


def tokens(n_items: int = N_ITEMS) -> np.ndarray:
    return np.array([PAD_TOKEN, *(f"i{i}" for i in range(1, n_items + 1))], dtype=object)


def session_data(train: list[list[int]]) -> SessionData:
    sessions = make_sessions(train, "s")
    return SessionData("toy", train=sessions, test=sessions, tokens=tokens())


def build(model: str, train: list[list[int]], **given_settings):
    config = config_of(model, tuple(given_settings.items()))
    return config.model_class(config, SessionDataset(config, session_data(train)).build()[0]).eval()


def batch_of(sessions: list[list[int]]) -> Interaction:
    padded = torch.zeros(len(sessions), max(map(len, sessions)), dtype=torch.long)
    for row, clicks in zip(padded, sessions):
        row[: len(clicks)] = torch.tensor(clicks)
    return Interaction({"item_id_list": padded, "item_length": torch.tensor([len(clicks) for clicks in sessions])})


def scores_of(model, session: list[int]) -> list[float]:
    """Scores by item id; index 0 is padding's."""
    return model.full_sort_predict(batch_of([session]))[0].tolist()


def order_of(model, session: list[int]) -> list[int]:
    """Item ids, the best first."""
    scores = scores_of(model, session)
    return sorted(range(1, N_ITEMS + 1), key=lambda item: -scores[item])


# Slow readings of the definitions: scores by item id from plain lists


def loop_ties(train) -> list[float]:
    last, n = [0] * (N_ITEMS + 1), 0
    for clicks in train:
        for item in clicks:
            n += 1
            last[item] = n
    return [1 + 1e-5 * position / n for position in last]


def loop_popularity(train) -> Counter:
    return Counter(item for clicks in train for item in clicks)


def loop_below(train) -> list[float]:
    popularity = loop_popularity(train)
    counts = [popularity[item] for item in range(N_ITEMS + 1)]
    steps = sorted({0, *counts})
    return [steps.index(count) / len(steps) for count in counts]


def loop_own_items(train, session) -> list[float]:
    scores = loop_below(train)
    oldest_first = sorted(set(session), key=lambda item: max(p for p, x in enumerate(session) if x == item))
    for rank, item in enumerate(oldest_first, start=1):
        scores[item] = rank
    return scores


def loop_spop_order(train, session, tie_break) -> list[int]:
    popularity = loop_popularity(train)

    def key(item):
        recency = max(p for p, x in enumerate(session) if x == item)
        middle = popularity[item] if tie_break == "popularity" else 0
        return session.count(item), middle, recency

    return sorted(set(session), key=key)


def loop_spop(train, session, tie_break="recency") -> list[float]:
    scores = loop_below(train)
    for rank, item in enumerate(loop_spop_order(train, session, tie_break), start=1):
        scores[item] = rank
    return scores


def loop_strongest(row: dict, train, n: int) -> list[float]:
    ties, scores = loop_ties(train), [0.0] * (N_ITEMS + 1)
    weighted = {item: value * ties[item] for item, value in row.items() if value > 0}
    for item in sorted(weighted, key=lambda item: -weighted[item])[:n]:
        scores[item] = weighted[item]
    return scores


def loop_sr(train, session, max_steps=10, n_rules=20, weighting="reciprocal") -> list[float]:
    row = defaultdict(float)
    # The definition adds 1/1 of all pairs first, then 1/2, ...: the order matters for the last bit of a sum.
    for step in range(1, max_steps + 1):
        for clicks in train:
            for first, second in zip(clicks, clicks[step:]):
                if first == session[-1]:
                    row[second] += 1 / step if weighting == "reciprocal" else 1 / math.log10(step + 1.7)
    return loop_strongest(row, train, n_rules)


def loop_last_item_knn(train, session, k=100, shrink=20.0) -> list[float]:
    last = session[-1]
    with_item = Counter(item for clicks in train for item in set(clicks))
    both = Counter(item for clicks in train if last in clicks for item in set(clicks) - {last})
    row = {b: n / math.sqrt((with_item[last] + shrink) * (with_item[b] + shrink)) for b, n in both.items()}
    return loop_strongest(row, train, k)


def loop_neighbours(train, session, k, sample_size, weight, similarity, part, idf_weight) -> list[float]:
    """What VSKNN, STAN and VSTAN share; ``part(similarity, clicks, item, here, there)`` is a neighbour's part."""
    length = len(session)
    position = {item: p for p, item in enumerate(session, start=1)}
    weights = {item: weight(p, length) for item, p in sorted(position.items(), key=lambda pair: pair[1])}
    found = [s for s, clicks in enumerate(train) if set(clicks) & set(session)][-sample_size:]
    ranked = []
    for s in found:
        shared = sum(w for item, w in weights.items() if item in train[s])
        ranked.append((similarity(shared, weights, s, train), s))
    ranked = sorted(ranked, key=lambda pair: (-pair[0], -pair[1]))[:k]
    scores = [0.0] * (N_ITEMS + 1)
    for value, s in ranked:
        clicks = train[s]
        latest = {item: p for p, item in enumerate(clicks, start=1)}
        match = max((item for item in position if item in latest), key=position.get)
        for item in latest:
            scores[item] += part(value, abs(latest[item] - latest[match]), length - position[match])
    ties, with_item = loop_ties(train), Counter(item for clicks in train for item in set(clicks))
    for item in range(1, N_ITEMS + 1):
        rarity = 1 + idf_weight * math.log(len(train) / with_item[item]) if with_item[item] else 1
        scores[item] *= rarity * ties[item]
    return scores


def loop_idf(train, item, power) -> float:
    n_with = sum(item in clicks for clicks in train)
    return max(math.log(len(train) / n_with), 1e-6) ** power if n_with else 0


def loop_vsknn(
    train,
    session,
    k=500,
    sample_size=2500,
    weighting="linear",
    idf_weight=5.0,
    idf_power=0.0,
    norm_power=0.0,
    since_last_match=True,
) -> list[float]:
    power = {"linear": 1, "quadratic": 2, "none": 0}[weighting]

    def similarity(shared, weights, s, train):
        weighted = sum(w * loop_idf(train, item, idf_power) for item, w in weights.items() if item in train[s])
        return weighted / len(session) ** power / len(set(train[s])) ** norm_power

    return loop_neighbours(
        train,
        session,
        k,
        sample_size,
        weight=lambda p, length: p**power,
        similarity=similarity,
        part=lambda value, distance, since: value / (1 + since if since_last_match else 1),
        idf_weight=idf_weight,
    )


def loop_sknn(train, session, k=1000, sample_size=10**6, idf_power=2.0, norm_power=0.5) -> list[float]:
    return loop_vsknn(train, session, k, sample_size, "none", 0.0, idf_power, norm_power, since_last_match=False)


def loop_stan(
    train,
    session,
    k=500,
    sample_size=2500,
    lambda_spw=2.5,
    lambda_snh=0.0,
    lambda_inh=4.0,
    lambda_ipw=math.inf,
    idf_weight=0.0,
) -> list[float]:
    def similarity(shared, weights, s, train):
        norm = math.sqrt(sum(w * w for w in weights.values()))
        age = (len(train) - s) / len(train)
        return shared / (norm * math.sqrt(len(train[s]))) * (math.exp(-age / lambda_snh) if lambda_snh else 1)

    return loop_neighbours(
        train,
        session,
        k,
        sample_size,
        weight=lambda p, length: math.exp((p - length) / lambda_spw),
        similarity=similarity,
        part=lambda value, distance, since: value * math.exp(-distance / lambda_inh) * math.exp(-since / lambda_ipw),
        idf_weight=idf_weight,
    )


def loop_vstan(train, session, lambda_ipw=10.0, idf_weight=5.0, **rest) -> list[float]:
    return loop_stan(train, session, lambda_ipw=lambda_ipw, idf_weight=idf_weight, **rest)


def loop_spop_stan(train, session, tie_break="recency", **rest) -> list[float]:
    scores = loop_stan(train, session, **rest)
    highest = max(scores) or 1
    scores = [score / highest for score in scores]
    for rank, item in enumerate(loop_spop_order(train, session, tie_break), start=1):
        scores[item] = 1 + rank
    return scores


def loop_sfsknn(train, session, k=500, sample_size=2500, idf_power=0.0, norm_power=0.5) -> list[float]:
    scores = loop_sknn(train, session, k, sample_size, idf_power, norm_power)
    followers = {b for clicks in train for a, b in itertools.pairwise(clicks) if a == session[-1]}
    return [score if item in followers else 0.0 for item, score in enumerate(scores)]


PART_LOOPS = {"SKNN": loop_sknn, "STAN": loop_stan, "VSTAN": loop_vstan, "SR": loop_sr}


def loop_sum(train, session, first, second, second_weight, without=()) -> list[float]:
    total = [0.0] * (N_ITEMS + 1)
    for name, weight in ((first, 1.0), (second, second_weight)):
        if name == "none":
            continue
        given = {"n_rules": 100} if name == "SR" else {}
        scores = [0.0 if item in without else s for item, s in enumerate(PART_LOOPS[name](train, session, **given))]
        total = [old + weight * score / (max(scores) or 1) for old, score in zip(total, scores)]
    return total


def loop_mix(
    train, session, first="STAN", second="SR", second_weight=1.0, own_weight=0.0, tie_break="recency"
) -> list[float]:
    scores = loop_sum(train, session, first, second, second_weight)
    for place, item in enumerate(reversed(loop_spop_order(train, session, tie_break)), start=1):
        scores[item] += own_weight / place
    return scores


def loop_own_items_first(
    train, session, first="SKNN", second="none", second_weight=1.0, tie_break="recency"
) -> list[float]:
    scores = loop_sum(train, session, first, second, second_weight, without=set(session))
    for rank, item in enumerate(loop_spop_order(train, session, tie_break), start=1):
        scores[item] = 1 + second_weight + rank
    return scores


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


# Through RecBole's and our own training


def by_token(scores: torch.Tensor, ids: dict) -> dict:
    return {token: scores[index].item() for token, index in ids.items() if token != PAD_TOKEN}


@pytest.mark.parametrize("own_ids", [True, False], ids=["session ids", "an id per row"])
@pytest.mark.parametrize("model", MODELS)
def test_recboles_data_set_gives_the_same_model(model, own_ids, tmp_path, monkeypatch):
    data = make_data(seed=8)
    write_presplit(data, tmp_path)
    if not own_ids:
        for split in SPLITS:
            file = tmp_path / "tiny" / f"tiny.{split}.inter"
            header, *rows = file.read_text().splitlines()
            rows = [f"{split}{i}\t{row.split(chr(9), 1)[1]}" for i, row in enumerate(rows)]
            file.write_text("\n".join([header, *rows]) + "\n")
    stock_config = make_config(monkeypatch, tmp_path, model)
    dataset, (train, _, test) = stock_data(stock_config)
    stock = stock_config.model_class(stock_config, train.dataset)
    config = load_config(model, "toy", config_dict=FIXED)
    ours_set = SessionDataset(config, data).build()
    ours = config.model_class(config, ours_set[0])
    stock_rows, our_rows = test.dataset[torch.arange(20)], ours_set[2][torch.arange(20)]
    tokens_of_row = dataset.field2id_token["item_id"][stock_rows["item_id_list"].numpy()]
    assert (
        data.tokens[our_rows["item_id_list"].numpy()] == tokens_of_row[:, : our_rows["item_id_list"].shape[1]]
    ).all()
    our_ids = dict(zip(data.tokens, range(len(data.tokens))))
    stock_ids = dict(zip(dataset.field2id_token["item_id"], range(dataset.item_num)))
    for a, b in zip(stock.full_sort_predict(stock_rows), ours.full_sort_predict(our_rows)):
        assert by_token(a, stock_ids) == {t: v for t, v in by_token(b, our_ids).items() if t in stock_ids}


@pytest.mark.parametrize("model", MODELS)
def test_recboles_trainer_runs_an_empty_epoch(model, tmp_path, monkeypatch):
    write_presplit(make_data(seed=9), tmp_path)
    config = make_config(monkeypatch, tmp_path, model)
    # RecBole writes its logs where it stands.
    monkeypatch.chdir(tmp_path)
    assert config["epochs"] == 1
    _, (train, valid, test) = stock_data(config)
    built = config.model_class(config, train.dataset)
    before = built.full_sort_predict(test.dataset[torch.arange(5)])
    trainer = Trainer(config, built)
    trainer.fit(train, valid, show_progress=False)
    result = trainer.evaluate(test, show_progress=False)
    assert 0 < result["mrr@20"] <= 1
    assert torch.equal(before, built.full_sort_predict(test.dataset[torch.arange(5)]))


def test_our_command_trains_stores_and_loads(tmp_path):
    settings_of_run = {"run_dir": str(tmp_path), "data_path": str(tmp_path / "data"), "show_progress": False}
    config = load_config("SPopSTAN", "toy", config_dict=settings_of_run)
    directory = run(config)
    from safetensors.torch import load_file

    data = validation_cut(toy(), config["valid_ratio"])
    datasets = SessionDataset(config, data).build()
    empty = config.model_class(config, SimpleNamespace(num=datasets[0].num))
    empty.load_state_dict(load_file(directory.model_file))
    ranks = rank_all(empty, build_loaders(config, datasets)[2], CPU)
    stored = np.load(directory.ranks_file)
    assert np.array_equal(stored["better"], ranks.better) and np.array_equal(stored["tied"], ranks.tied)


def rows_of(users, prefixes, targets, times=None) -> Interaction:
    width = max(map(len, prefixes))
    columns = {
        "session_id": torch.tensor(users),
        "item_id_list": torch.tensor([[*prefix, *[0] * (width - len(prefix))] for prefix in prefixes]),
        "item_length": torch.tensor([len(prefix) for prefix in prefixes]),
        "item_id": torch.tensor(targets),
    }
    return Interaction(columns if times is None else columns | {"timestamp": torch.tensor(times)})


ROWS = {
    "longest row of each session, in order of the rows": (
        ([2, 2, 1, 1, 1], [[4], [4, 5], [1], [1, 2], [1, 2, 3]], [5, 6, 2, 3, 4]),
        [[4, 5, 6], [1, 2, 3, 4]],
    ),
    "sessions in order of the target's time": (
        ([2, 2, 1, 1], [[4], [4, 5], [1], [1, 2]], [5, 6, 2, 3], [8.0, 9.0, 1.0, 2.0]),
        [[1, 2, 3], [4, 5, 6]],
    ),
    "an id per row, longest first": (
        ([1, 2, 3, 4, 5], [[1, 2, 3], [1, 2], [1], [1, 2], [7]], [4, 3, 2, 5, 8]),
        [[1, 2, 3, 4], [1, 2, 5], [7, 8]],
    ),
    "an id per row, full rows that differ in the target only": (
        ([1, 2], [[1, 2, 3], [1, 2, 3]], [4, 5]),
        [[1, 2, 3, 4], [1, 2, 3, 5]],
    ),
    "of rows cut to one length the last": (
        ([1, 1, 1, 1], [[1], [1, 2], [2, 3], [3, 4]], [2, 3, 4, 5]),
        [[3, 4, 5]],
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_sessions_from_recboles_rows(name):
    rows, expected = ROWS[name]
    dataset = SimpleNamespace(inter_feat=rows_of(*rows), time_field="timestamp")
    clicks = train_clicks(dataset, "session_id", "item_id", "item_id_list", "item_length")
    found = [clicks.items[a:b].tolist() for a, b in zip(clicks.offsets, clicks.offsets[1:])]
    assert found == expected


# Property files


@pytest.mark.parametrize("path", sorted((properties_root() / "space").glob("*.yaml")), ids=lambda path: path.stem)
def test_search_spaces_name_keys_of_the_model_and_values_they_accept(path):
    if path.stem not in MODELS:
        pytest.skip("the space of a model with gradients")
    keys = model_keys(registry.resolve(path.stem))
    space = read_settings(path).values
    for name, choices in space.items():
        assert next(iter(choices)) == "choice" and len(set(choices["choice"])) > 1
        for value in choices["choice"]:
            assert keys[name].check(value, path.name) == value
        assert keys[name].default in choices["choice"]


def test_every_model_with_something_to_choose_has_a_search_space():
    for model in MODELS:
        tunable = set(model_keys(registry.resolve(model))) - {"epochs", "train_neg_sample_args"}
        path = properties_root() / "space" / f"{model}.yaml"
        searched = set(read_settings(path).values if path.is_file() else ())
        # A mix has every key of its parts; a search over all of them would need a larger budget than anyone's.
        assert searched == tunable or (model in MIXES and tunable > searched >= {"first", "second", "second_weight"})
