"""Neighbours looked up in lists of recent sessions, and recommendations from them, are those of the whole catalogue."""

import numpy as np
import pytest

from recbole_tme.config.load import load_config
from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.sessions import SessionData
from recbole_tme.data.synthetic import random_dataset, toy
from recbole_tme.models import registry
from recbole_tme.models.training_free import neighbours
from recbole_tme.models.training_free.stan import STAN
from recbole_tme.serving.selection import best_found, top_k, top_k_of_found

NEIGHBOURS = ["SKNN", "VSKNN", "STAN", "VSTAN"]


def made(name: str | type, data: SessionData, **settings):
    config = load_config(name, data.name, config_dict={"device": "cpu"} | settings)
    return config.model_class(config, SessionDataset(config, data).build()[0])


def asked(n_items: int, n: int = 40) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.integers(1, n_items + 1, size=rng.integers(1, 12)) for _ in range(n)]


@pytest.mark.parametrize("name", NEIGHBOURS)
@pytest.mark.parametrize("sample_size", [7, 2500])
@pytest.mark.parametrize("sparse", [0, 10**9])
def test_what_is_found_is_what_is_scored(name, sample_size, sparse, monkeypatch):
    """Number for number, whichever way the sessions' lists are put together."""
    data = random_dataset("toy", 600, 90)
    model = made(name, data, k=20, sample_size=sample_size)
    sessions = asked(90)
    scores = model.score_sessions(sessions)
    monkeypatch.setattr(neighbours, "SPARSE", sparse)
    found = model.found(sessions)
    for row, (items, of_items) in zip(scores, found):
        dense = np.zeros_like(row)
        dense[items] = of_items
        assert np.array_equal(dense, row) and (np.diff(items) > 0).all()
    # One after the other as well: no session's figures depend on another.
    alone = [model.found([session])[0] for session in sessions]
    for (items, of_items), (again, of_again) in zip(found, alone):
        assert np.array_equal(items, again) and np.array_equal(of_items, of_again)


def test_sessions_are_put_together_in_both_ways_alike(monkeypatch):
    index = made("STAN", random_dataset("toy", 600, 90), sample_size=30).prepared.index
    current = neighbours.flat(asked(90))
    weight = np.random.default_rng(2).random(len(current.item)) + 0.1
    ways = []
    for sparse in (0, 10**9):
        monkeypatch.setattr(neighbours, "SPARSE", sparse)
        ways.append(index.candidates(current, weight))
    for one, other in zip(*ways):
        assert np.array_equal(one, other)
    assert np.bincount(ways[0].row).max() == 30


def test_a_model_that_scores_in_another_way_is_not_looked_up():
    class Louder(STAN):
        def score_sessions(self, sessions):
            return 2 * super().score_sessions(sessions) + 1

    data, sessions = toy(), asked(80, 3)
    config = load_config("STAN", "toy", config_dict={"device": "cpu"})
    louder = Louder(config, SessionDataset(config, data).build()[0])
    assert louder.found(sessions) is None and best_found(louder, sessions, 5, 80, [np.arange(0)] * 3) is None
    for name in ("SPopSTAN", "SFSKNN"):
        assert made(name, data).found(sessions) is None
    assert made("SPop", data).found(sessions) is None
    network = registry.resolve("SRGNN")(config := load_config("SRGNN", "toy"), SessionDataset(config, data).build()[0])
    assert best_found(network, sessions, 5, 80, [np.arange(0)] * 3) is None


def test_the_best_of_few_are_the_best_of_all():
    rng = np.random.default_rng(3)
    for _ in range(300):
        n_items, k = int(rng.integers(1, 30)), int(rng.integers(1, 30))
        k = min(k, n_items)
        places = np.sort(rng.choice(n_items, rng.integers(0, n_items + 1), replace=False))
        # Zeros and equal scores among them.
        scores = rng.integers(0, 4, len(places)).astype(np.float32)
        dense = np.zeros((1, n_items), dtype=np.float32)
        dense[0, places] = scores
        ((expected, values),) = top_k(dense, k)
        chosen, of_chosen = top_k_of_found(places, scores, k, n_items, np.arange(0))
        assert chosen.tolist() == expected.tolist() and of_chosen.tolist() == values.tolist()
        out = np.sort(rng.choice(n_items, rng.integers(0, n_items + 1), replace=False))
        chosen, _ = top_k_of_found(places, scores, k, n_items, out)
        order = [place for place in np.lexsort((np.arange(n_items), -dense[0])) if place not in out]
        assert chosen.tolist() == order[:k]
