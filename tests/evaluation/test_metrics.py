"""Metrics from ranks against RecBole's evaluator and against plain loops."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from helpers.stock_recbole import make_config, make_data, stock_data, write_presplit
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.evaluator import Collector, Evaluator
from recbole.trainer import Trainer
from recbole.utils import get_model

from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.loader import build_loaders
from recbole_tme.errors import UserError
from recbole_tme.evaluation import (
    Ranks,
    check_metrics,
    evaluate,
    evaluate_model,
    metric_key,
    slices,
    target_ranks,
)

TOPK = [1, 3, 5, 20]
ALL = ["Hit", "MRR", "NDCG", "Precision", "Recall", "MAP"]


def ranks_of(better, tied=None) -> Ranks:
    better = np.asarray(better, dtype=np.int32)
    n = len(better)
    zeros = np.zeros(n, dtype=np.int32)
    return Ranks(
        better=better,
        tied=zeros if tied is None else np.asarray(tied, dtype=np.int32),
        target=zeros + 1,
        session=np.arange(n, dtype=np.int32),
        length=zeros + 1,
        is_repeat=np.arange(n) % 2 == 0,
        is_last_click=np.arange(n) % 3 == 0,
    )


def recbole_metrics(config, batches) -> dict[str, float]:
    """RecBole's metrics of ``(scores, targets)`` batches, through its own collector and evaluator."""
    collector = Collector(config)
    for scores, targets in batches:
        scores = scores.clone()
        scores[:, 0] = -np.inf
        collector.eval_batch_collect(scores, None, torch.arange(len(targets)), targets)
    return dict(Evaluator(config).evaluate(collector.get_data_struct()))


def test_metrics_without_ties_are_recboles(tmp_path, monkeypatch):
    config = make_config(monkeypatch, tmp_path, metrics=ALL, topk=TOPK, valid_metric="MRR@20")
    generator = torch.Generator().manual_seed(3)
    batches, parts = [], []
    for n in (50, 13):
        scores = torch.stack([torch.randperm(41, generator=generator).float() for _ in range(n)])
        targets = torch.randint(1, 41, (n,), generator=generator)
        batches.append((scores, targets))
        parts.append(target_ranks(scores, targets))
    better, tied = (torch.cat(column).numpy() for column in zip(*parts))
    assert not tied.any()
    expected = recbole_metrics(config, batches)
    ours = evaluate(ranks_of(better, tied), TOPK, ALL)
    for k in TOPK:
        for name in ("hit", "mrr", "ndcg", "precision"):
            assert ours[f"{name}@{k}"] == pytest.approx(expected[f"{name}@{k}"], abs=1e-11)
        assert ours[f"hit@{k}"] == pytest.approx(expected[f"recall@{k}"], abs=1e-11)
        assert ours[f"mrr@{k}"] == pytest.approx(expected[f"map@{k}"], abs=1e-11)
    assert set(ours) == {f"{name}@{k}" for name in ("hit", "mrr", "ndcg", "precision") for k in TOPK}


@pytest.mark.parametrize("name", ["GRU4Rec", "SASRec", "STAMP"])
def test_a_models_metrics_are_those_of_recboles_trainer(tmp_path, monkeypatch, name):
    """The whole way: the same weights on RecBole's data and evaluator and on ours."""
    data = make_data(n_items=60, sizes=(60, 20, 40))
    write_presplit(data, tmp_path)
    # As wide as RecBole's matrix, the longest prefix of the files: its STAMP attends to padding too.
    config = make_config(monkeypatch, tmp_path, name, topk=TOPK, metrics=ALL, MAX_ITEM_LIST_LENGTH=8)
    stock, stock_loaders = stock_data(config)
    dataset = SessionDataset(config, data)
    loaders = build_loaders(config, dataset.build())
    torch.manual_seed(0)
    model = get_model(name)(config, stock_loaders[0].dataset).double().eval()

    def stock_batches():
        for interaction, _, _, targets in stock_loaders[2]:
            with torch.no_grad():
                yield model.full_sort_predict(interaction).view(len(targets), -1), targets

    expected = recbole_metrics(config, stock_batches())
    # The same weights, with the rows of the item table in the order of our catalogue.
    theirs = [stock.token2id("item_id", str(token)) for token in data.tokens]
    with torch.no_grad():
        model.item_embedding.weight.copy_(model.item_embedding.weight[theirs].clone())
    ours, ranks = evaluate_model(model, loaders[2], torch.device("cpu"), TOPK, ALL)
    assert ranks.tie_share == 0 and len(ranks) == len(stock_loaders[2].dataset)
    for k in TOPK:
        for metric in ("hit", "mrr", "ndcg", "precision"):
            assert ours[f"{metric}@{k}"] == pytest.approx(expected[f"{metric}@{k}"], abs=1e-9)


def test_recboles_trainer_runs_on_the_loaders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = make_config(monkeypatch, tmp_path, "NARM", topk=TOPK, metrics=ALL, epochs=2, show_progress=False)
    datasets = SessionDataset(config, make_data()).build()
    train, valid, test = build_loaders(config, datasets)
    torch.manual_seed(0)
    model = get_model("NARM")(config, datasets[0])
    trainer = Trainer(config, model)
    trainer.fit(train, valid, verbose=False, saved=False)
    expected = trainer.evaluate(test, load_best_model=False)
    ours, ranks = evaluate_model(model, test, "cpu", TOPK, ALL)
    assert ranks.tie_share == 0
    for k in TOPK:
        assert ours[f"hit@{k}"] == pytest.approx(expected[f"hit@{k}"], abs=1e-9)
        assert ours[f"mrr@{k}"] == pytest.approx(expected[f"mrr@{k}"], abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=2, max_size=5), st.data())
def test_a_ties_rank_is_the_mean_over_its_orders(scores, data):
    target = data.draw(st.integers(0, len(scores) - 1))
    places = [
        next(i for i, item in enumerate(sorted(order, key=lambda item: -scores[item]), start=1) if item == target)
        for order in permutations(range(len(scores)))
    ]
    row = torch.tensor([[9.0, *map(float, scores)]])
    better, tied = target_ranks(row, torch.tensor([target + 1]))
    assert ranks_of(better.numpy(), tied.numpy()).rank[0] == pytest.approx(np.mean(places))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), min_size=1, max_size=30),
    st.lists(st.integers(1, 25), min_size=1, max_size=3),
)
def test_values_match_a_loop(pairs, topk):
    better, tied = zip(*pairs)
    found = evaluate(ranks_of(better, tied), topk, ALL)
    for k in topk:
        sums = dict.fromkeys(("hit", "mrr", "ndcg", "precision"), 0.0)
        for b, t in pairs:
            rank = 1 + b + t / 2
            if rank <= k:
                sums["hit"] += 1
                sums["mrr"] += 1 / rank
                sums["ndcg"] += 1 / math.log2(rank + 1)
                sums["precision"] += 1 / k
        for name, total in sums.items():
            assert found[f"{name}@{k}"] == pytest.approx(total / len(pairs))


def test_one_number_has_one_name():
    ranks = ranks_of([0, 5, 30])
    assert evaluate(ranks, 20, ["Recall", "hit", "P", "HR"]) == {"hit@20": 2 / 3}
    assert list(evaluate(ranks, [20, 5], ["MRR", "Recall"])) == ["mrr@20", "mrr@5", "hit@20", "hit@5"]
    assert evaluate(ranks, 5, "Precision") == {"precision@5": pytest.approx(1 / 15)}
    assert set(evaluate(ranks)) == {f"{name}@{k}" for name in ("hit", "mrr", "ndcg") for k in (5, 10, 20)}


def test_values_are_not_rounded():
    assert evaluate(ranks_of([2, 0, 0]), 5, "MRR")["mrr@5"] == pytest.approx(7 / 9, abs=1e-15)


def test_no_instance_has_no_metric():
    assert math.isnan(evaluate(ranks_of([]), 5, "Hit")["hit@5"])


def test_slices_are_metrics_of_parts():
    ranks = ranks_of([0, 30, 1, 40, 2, 3, 50])
    found = slices(ranks, [20], ["Hit", "MRR"])
    for name, rows in {
        "all": range(7),
        "repeat": [0, 2, 4, 6],
        "new": [1, 3, 5],
        "last_click": [0, 3, 6],
    }.items():
        assert found[name]["instances"] == len(rows)
        assert found[name]["metrics"] == evaluate(ranks.select(np.array(rows)), [20], ["Hit", "MRR"])
    assert found["repeat"]["metrics"] != found["new"]["metrics"]
    without = slices(replace(ranks, is_repeat=np.ones(7, dtype=bool)))
    assert set(without) == {"all", "repeat", "last_click"}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("MRR@20", "mrr@20"),
        ("Recall@5", "hit@5"),
        ("hit@10", "hit@10"),
        ("P@20", "hit@20"),
        ("Precision@1", "precision@1"),
    ],
)
def test_names_with_their_k(name, key):
    assert metric_key(name) == key


@pytest.mark.parametrize(
    ("metrics", "topk", "valid_metric", "key"),
    [
        (["Recall", "MRR"], [10, 20], "Recall@20", "hit@20"),
        (["Hit"], 5, "recall@5", "hit@5"),
        ("MRR", [20], "MRR@20", "mrr@20"),
        (["Recall", "MRR", "NDCG", "Hit", "Precision"], [10], "MRR@10", "mrr@10"),
        (["Hit"], [100], "Hit@100", "hit@100"),
    ],
)
def test_sound_settings_give_the_validation_key(metrics, topk, valid_metric, key):
    assert check_metrics(metrics, topk, valid_metric, n_items=100) == key
    assert key in evaluate(ranks_of([0]), topk, metrics)


@pytest.mark.parametrize(
    ("metrics", "topk", "valid_metric", "words"),
    [
        (["Recal", "MRR"], [20], "MRR@20", r"metrics: unknown metric 'Recal'; did you mean recall\? \(known: hit, mrr"),
        (["GAUC"], [20], "MRR@20", r"unknown metric 'GAUC'.*known: hit, mrr, ndcg, precision"),
        (["MRR"], [101], "MRR@101", "topk: 101 is more than the 100 items of the catalogue"),
        (["MRR"], [0], "MRR@20", "topk: every K must be a whole number of at least 1, not 0"),
        (["MRR"], [1.5], "MRR@20", "topk: .*1.5"),
        (["MRR"], ["ten"], "MRR@20", "topk: .*'ten'"),
        (["MRR"], [True], "MRR@1", "topk: .*True"),
        (["MRR"], [], "MRR@20", "topk: no K is named"),
        ([], [20], "MRR@20", "metrics: no metric is named"),
        (["MRR"], [10], "MRR@20", r"valid_metric: 'MRR@20' is not among metrics and topk; did you mean mrr@10\?"),
        (["MRR"], [20], "NDCG@20", r"valid_metric: 'NDCG@20' is not among .*computed: mrr@20"),
        (["MRR"], [20], "NDGC@20", r"unknown metric 'NDGC'; did you mean ndcg\?"),
        (["MRR"], [20], "MRR", "valid_metric: 'MRR' should be a metric and a K, such as MRR@20"),
        (["MRR"], [20], "MRR@all", "valid_metric: 'MRR@all' should be"),
        (["MRR"], [20], "MRR@0", "valid_metric: 'MRR@0' should be"),
    ],
)
def test_unsound_settings_are_named(metrics, topk, valid_metric, words):
    with pytest.raises(UserError, match=words) as error:
        check_metrics(metrics, topk, valid_metric, n_items=100)
    assert "\n" not in str(error.value)


def test_an_unknown_metric_is_refused_when_evaluating_too():
    with pytest.raises(UserError, match="did you mean mrr"):
        evaluate(ranks_of([0]), [5], ["MR"])
