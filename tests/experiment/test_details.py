"""``details.json``: figures and examples against slow readings of their definitions, and in run directories."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from recbole_tme.config.load import load_config
from recbole_tme.evaluation.beyond_accuracy import gini
from recbole_tme.evaluation.protocol import Protocol, load_data
from recbole_tme.evaluation.ranks import Ranks
from recbole_tme.experiment.details import (
    EXAMPLES,
    LIST,
    SHOWN,
    TopKStatistics,
    evaluate_test,
    example_instances,
    peak_memory,
    popularity_percentiles,
)
from recbole_tme.experiment.loading import load_run
from recbole_tme.experiment.run import run
from recbole_tme.runs.directory import RunDirectory

SETTINGS = {"show_progress": False, "epochs": 2}
MODELS = {
    "SASRec": {"retrain": True, "n_layers": 1},
    "TMEGNN": {"retrain": True, "embedding_size": 8, "rank_low": 3, "rank_high": 20, "seed": 7},
    "SPop": {"retrain": True, "epochs": 1},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, RunDirectory]:
    shared = SETTINGS | {"run_dir": str(tmp_path_factory.mktemp("details") / "runs")}
    return {name: run(load_config(name, "toy", config_dict=shared | own)) for name, own in MODELS.items()}


def details_of(directory: RunDirectory) -> dict:
    return json.loads(directory.details_file.read_text())


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30).filter(any))
def test_gini_is_the_mean_difference_of_all_pairs(counts):
    n = len(counts)
    slow = sum(abs(a - b) for a in counts for b in counts) / (2 * n * sum(counts))
    assert gini(np.array(counts)) == pytest.approx(slow, abs=1e-12)


@given(st.integers(1, 5), st.integers(2, 30), st.integers(0, 99))
def test_lists_are_counted_as_a_loop_counts_them(n_rows, n_items, seed):
    generator = np.random.default_rng(seed)
    # Without ties, and padding scores best of all.
    scores = generator.permuted(np.tile(np.arange(n_items + 1.0), (n_rows, 1)), axis=1)
    scores[:, 0] = 1e9
    percentile = np.append(0.0, generator.random(n_items))
    target = generator.integers(1, n_items + 1, n_rows)
    lists = TopKStatistics(percentile, [0, n_rows - 1])
    order = generator.permutation(n_rows)
    for rows in np.array_split(order, 2):
        lists(torch.from_numpy(scores[rows]), torch.from_numpy(rows))
    k = min(LIST, n_items)
    best = [sorted(range(1, n_items + 1), key=lambda item: -row[item])[:k] for row in scores]
    counts = [sum(items.count(item) for items in best) for item in range(1, n_items + 1)]
    assert lists.summary(target) == {
        "k": k,
        "coverage": pytest.approx(sum(count > 0 for count in counts) / n_items),
        "popularity": pytest.approx(np.mean([np.mean([percentile[item] for item in items]) for items in best])),
        "target_popularity": pytest.approx(np.mean([percentile[item] for item in target])),
        "gini": pytest.approx(gini(np.array(counts))),
    }
    assert lists.kept == {row: best[row][:SHOWN] for row in {0, n_rows - 1}}


def test_popularity_is_the_share_of_less_popular_items():
    data = load_data(load_config("SPop", "toy"))
    clicks = np.bincount(data.train.items, minlength=len(data.tokens))[1:]
    n = len(clicks)
    slow = [((clicks < own).sum() + ((clicks == own).sum() - 1) / 2) / (n - 1) for own in clicks]
    assert popularity_percentiles(data)[1:] == pytest.approx(slow)


def about(repeated: int, new: int, per_session: int) -> dict:
    n = repeated + new
    return {"session": np.arange(n) // per_session, "is_repeat": np.arange(n) < repeated}


@pytest.mark.parametrize(("repeated", "new"), [(300, 300), (3, 500), (500, 3), (0, 100), (5, 6)])
def test_examples_are_half_repeated_where_there_are_enough_and_of_different_sessions(repeated, new):
    instances = about(repeated, new, per_session=1)
    chosen = example_instances(instances, "0a202b7a9882")
    old = int(instances["is_repeat"][chosen].sum())
    n = min(EXAMPLES, repeated + new)
    assert len(chosen) == n and chosen == sorted(set(chosen))
    assert old == min(repeated, max(EXAMPLES // 2, EXAMPLES - new))
    together = about(repeated, new, per_session=4)
    sessions = together["session"][example_instances(together, "0a202b7a9882")]
    assert len(sessions) == len(set(sessions)) == min(EXAMPLES, together["session"][-1] + 1)


def test_the_protocol_alone_chooses_the_examples(runs):
    instances = about(100, 100, 2)
    assert example_instances(instances, "1") == example_instances(instances, "1")
    assert example_instances(instances, "1") != example_instances(instances, "2")
    shown = [
        [(one["instance"], one["session"], one["target"]) for one in details_of(directory)["examples"]]
        for directory in runs.values()
    ]
    assert shown[0] == shown[1] == shown[2] and len(shown[0]) == EXAMPLES


@pytest.mark.parametrize("name", MODELS)
def test_a_run_says_what_its_model_recommends(runs, name):
    directory = runs[name]
    found, ranks = details_of(directory), Ranks.load(directory.ranks_file)
    _, data, model, loaders = load_run(directory.path)
    rows = loaders[2].dataset[:]
    with torch.no_grad():
        scores = model.full_sort_predict(loaders[2].transform(loaders[2].dataset, rows)).numpy()
    best = torch.from_numpy(scores[:, 1:]).topk(LIST).indices.numpy() + 1
    counts = np.bincount(best.ravel(), minlength=len(data.tokens))[1:]
    percentile = popularity_percentiles(data)
    assert found["beyond_accuracy"] == pytest.approx(
        {
            "k": LIST,
            "coverage": (counts > 0).mean(),
            "popularity": percentile[best].mean(),
            "target_popularity": percentile[ranks.target].mean(),
            "gini": gini(counts),
        },
        # The last bits of scores hang on the batch, and may decide between two items.
        abs=0.01,
    )
    for one in found["examples"]:
        row = one["instance"]
        clicks = rows["item_id_list"][row][: rows["item_length"][row]].numpy()
        assert one["session"] == [str(token) for token in data.tokens[clicks]]
        assert one["target"] == data.tokens[ranks.target[row]] and one["rank"] == ranks.rank[row]
        if one["rank"] <= SHOWN and ranks.tied[row] == 0:
            assert one["recommended"][int(one["rank"]) - 1] == one["target"]
        assert len(set(one["recommended"])) == SHOWN
    cost = found["cost"]
    assert (cost["device"], cost["threads"]) == ("cpu", torch.get_num_threads())
    assert cost["query_ms"] > 0 and 50 < cost["peak_memory_mb"] <= peak_memory(torch.device("cpu"))


def test_the_spectrum_is_that_of_the_item_table(runs):
    assert details_of(runs["SPop"])["spectrum"] is None
    found = details_of(runs["SASRec"])["spectrum"]
    n = len(runs["SASRec"].read_items())
    table = load_file(runs["SASRec"].model_file)["item_embedding.weight"][1:n].double().numpy()
    values = np.linalg.svd(table, compute_uv=False)
    assert found == pytest.approx(list(values / values[0]), abs=1e-9)


def test_the_batch_size_changes_nothing(runs):
    protocol = Protocol.of_run(runs["SASRec"])
    found = []
    for size in (7, 4096):
        config, data, model, loaders = load_run(runs["SASRec"].path, {"eval_batch_size": size})
        _, details = evaluate_test(config, data, model, loaders[2], protocol)
        found.append(([one["recommended"] for one in details["examples"]], details["beyond_accuracy"]))
    assert found[0][0] == found[1][0] and found[0][1] == pytest.approx(found[1][1], abs=1e-3)
