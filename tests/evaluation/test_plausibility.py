"""What no model can reach that knows the clicks alone, counted fast and by a loop."""

from collections import Counter, defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_tme.config.load import load_config
from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.ragged import to_offsets
from recbole_tme.data.sessions import PAD_TOKEN, SessionData, Sessions
from recbole_tme.evaluation.plausibility import attainable, implausible
from recbole_tme.experiment.run import run
from tests.helpers.cheats import MeanOfClicks, ReadsTheTarget


def table_of(clicks, max_length=3):
    sessions = Sessions(
        items=np.concatenate(clicks).astype(np.int32),
        offsets=to_offsets(np.array([len(session) for session in clicks])),
        ids=np.array([str(i) for i in range(len(clicks))]),
    )
    config = load_config("SPop", "toy", config_dict={"MAX_ITEM_LIST_LENGTH": max_length, "device": "cpu"})
    data = SessionData("tiny", train=sessions, test=sessions, tokens=np.array([PAD_TOKEN, *"abcd"], dtype=object))
    return SessionDataset(config, data).build()[2].inter_feat


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(1, 4), min_size=2, max_size=6), min_size=1, max_size=12), st.integers(1, 4))
def test_the_bound_is_that_of_a_loop(clicks, max_length):
    table = table_of(clicks, max_length)
    targets = defaultdict(Counter)
    prefixes = []
    for row in range(len(table)):
        one = table[row]
        prefix = tuple(one["item_id_list"][: one["item_length"]].tolist())
        targets[prefix][int(one["item_id"])] += 1
        prefixes.append(prefix)
    shared = [len(targets[prefix]) > 1 for prefix in prefixes]
    found = attainable(table)
    assert found.instances.tolist() == shared
    assert found.hits == sum(max(counts.values()) for counts in targets.values() if len(counts) > 1)


def test_ranks_above_the_bound_are_told_and_those_at_it_are_not():
    table = table_of([[1, 2]] * 60 + [[1, 3]] * 40)
    target = table["item_id"].numpy()
    most = SimpleNamespace(rank=np.where(target == 2, 1.0, 2.0))
    assert implausible(most, table) is None
    all_first = SimpleNamespace(rank=np.ones(100))
    assert "P@1 is 100.00 on the 100 test instances" in implausible(all_first, table)
    assert "exceeds 60.00" in implausible(all_first, table)


@pytest.mark.parametrize(("model", "warns"), [(ReadsTheTarget, True), (MeanOfClicks, False), ("STAN", False)])
def test_a_run_warns_at_figures_no_honest_model_reaches(model, warns, tmp_path, capfd):
    rng = np.random.default_rng(0)
    from recbole_tme.data.readers.atomic import write_dataset

    items = rng.integers(1, 6, (120, 3)).astype(np.int32)
    sessions = Sessions(items.ravel(), np.arange(0, 361, 3), np.array([f"s{i}" for i in range(120)]))
    data = SessionData("noise", sessions.slice(0, 80), sessions.slice(80, 120), np.array([PAD_TOKEN, *"abcde"]))
    write_dataset(tmp_path, data, {})
    quick = {"show_progress": False, "epochs": 1, "device": "cpu", "topk": [1], "valid_metric": "MRR@1"}
    run(load_config(model, "noise", config_dict=quick | {"data_path": str(tmp_path), "run_dir": str(tmp_path / "r")}))
    assert ("knows more than the session; recbole-tme leakcheck" in capfd.readouterr().err) == warns
