"""Metrics of what is recommended: the numbers of RecBole's own Evaluator, alone and in runs."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_tme import load_run, run
from recbole_tme.config.load import load_config
from recbole_tme.config.resolution import OF_LISTS
from recbole_tme.errors import UserError
from recbole_tme.evaluation.beyond_accuracy import BeyondAccuracy
from recbole_tme.experiment.loading import load_run as load_model
from recbole_tme.recbole_patches.patches import tensorboard_in

KEYS = [name.lower() for name in OF_LISTS]


def by_recbole(scores, clicks, topk, tail_ratio):
    """What RecBole's collector and evaluator make of the same scores, batch by batch, rounded as RecBole rounds."""
    from recbole.evaluator import Collector, Evaluator

    config = {
        "metrics": list(OF_LISTS), "topk": topk, "tail_ratio": tail_ratio, "metric_decimal_place": 9, "device": "cpu",
        "eval_args": {"mode": {"valid": "full", "test": "full"}},
    }  # fmt: skip
    collector = Collector(config)
    collector.data_struct.set("data.num_items", scores.shape[1])
    collector.data_struct.set("data.count_items", Counter({i: n for i, n in enumerate(clicks.tolist()) if n}))
    for batch in scores.split(2):
        collector.eval_batch_collect(batch, None, None, None)
    return Evaluator(config).evaluate(collector.get_data_struct())


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 7), n_items=st.integers(3, 30), tail=st.sampled_from([0.1, 0.5, 1.0, 2.0, 3.5]),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_the_numbers_are_those_of_recboles_evaluator(n, n_items, tail, seed):
    generator = np.random.default_rng(seed)
    scores = torch.from_numpy(generator.permuted(np.tile(np.arange(n_items + 1.0), (n, 1)), axis=1))
    scores[:, 0] = -torch.inf
    clicks = np.append(0, generator.integers(0, 6, n_items))
    clicks[1] += 1
    topk = sorted({1, 2, n_items})
    ours = BeyondAccuracy(OF_LISTS, topk, clicks, tail)
    for rows in torch.arange(n).split(2):
        ours(scores[rows], rows)
    assert ours.result() == pytest.approx(by_recbole(scores, clicks, topk, tail), abs=1e-8)


def test_of_no_instance_there_is_no_figure():
    assert all(np.isnan(value) for value in BeyondAccuracy(OF_LISTS, [5], np.ones(9), 0.1).result().values())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beyond")
    metrics = ["Hit", "MRR", *OF_LISTS]
    return run(
        "recbole:GRU4Rec", "toy", run_dir=str(folder), metrics=metrics, topk=[5, 10], valid_metric="MRR@10", epochs=2,
        embedding_size=8, device="cpu", show_progress=False, tail_ratio=0.3,
    )  # fmt: skip


def test_a_run_measures_what_recboles_trainer_measures(finished):
    from recbole.trainer import Trainer

    result = json.loads((finished.path / "metrics.json").read_text())
    assert {f"{key}@{k}" for key in KEYS for k in (5, 10)} < set(result["test"]) == set(result["valid"])
    assert set(result["slices"]["all"]["metrics"]) == {"hit@5", "hit@10", "mrr@5", "mrr@10"}
    loaded = load_model(finished.path)
    with tensorboard_in(None):
        trainer = Trainer(loaded.config, loaded.model)
    train, _, test = loaded.loaders
    trainer.eval_collector.data_collect(train)
    by_trainer = trainer.evaluate(test, load_best_model=False)
    assert {key: result["test"][key] for key in by_trainer} == pytest.approx(dict(by_trainer), abs=6e-5)


def test_they_are_shown_in_their_units(finished):
    again = load_run(finished.path)
    raw = json.loads((finished.path / "metrics.json").read_text())["test"]
    assert again.metrics["ItemCoverage@5"] == pytest.approx(100 * raw["itemcoverage@5"])
    assert again.metrics["AveragePopularity@5"] == pytest.approx(raw["averagepopularity@5"])
    said = str(again)
    assert "AveragePopularity@10" in said and "AveragePopularity and ShannonEntropy are no fractions" in said
    assert again.history["valid ShannonEntropy@5"].max() < 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"metrics": ["Hit", "GiniIndex"], "valid_metric": "GiniIndex@20"},
            "GiniIndex@20 selects no epoch; choose one of metrics at one of topk: Hit@5",
        ),
        ({"metrics": "ItemCoverage"}, "add MRR to metrics"),
        ({"metrics": ["MRR", "ItemCoverge"]}, "did you mean ItemCoverage?"),
        ({"tail_ratio": 0}, r"tail_ratio must be float in \(0, inf\)"),
    ],
)
def test_refused(given, words):
    with pytest.raises(UserError, match=words):
        load_config("TMEGNN", "toy", config_dict=given)
