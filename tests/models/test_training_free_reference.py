"""The baselines without gradients on the field's data: their figures are those of ``reference.json`` beside it."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import torch

from recbole_tme.config.load import load_config
from recbole_tme.data.catalogue import assemble
from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.loader import build_loaders
from recbole_tme.data.readers.lines import read_lines
from recbole_tme.data.sessions import SessionData
from recbole_tme.evaluation.metrics import evaluate
from recbole_tme.evaluation.ranks import rank_all

# Half a point: the rules of the reference leave open how equal scores and equally similar sessions are put in order.
TOLERANCE = 0.5
TOPK = (5, 10, 20)
FAST = "yoochoose-100k"
SLOW = ["tmall", "diginetica", "nowplaying"]
DATA_SETS = [FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


def stan_settings(params: dict) -> dict:
    return {"k": params["k"], "lambda_spw": params["l1"], "lambda_snh": params["l2"], "lambda_inh": params["l3"]}


def vsknn_settings(params: dict) -> dict:
    weighting = ["linear", "quadratic"][params["w"]]
    return {"k": params["k"], "sample_size": params["sample"], "weighting": weighting, "idf_weight": params["idf"]}


# Model, its row in the reference, and its settings from that row's parameters.
ROWS = [
    # The reference orders equal counts by popularity here, and by recency where STAN fills up.
    ("SPop", "S-POP", lambda params: {"tie_break": "popularity"}),
    ("SPopSTAN", "S-POP first, then STAN", stan_settings),
    ("LastItemKNN", "Item-kNN last (lambda 20)", lambda params: {"shrink": 20.0}),
    ("LastItemKNN", "Item-kNN last (cosine)", lambda params: {"shrink": 0.0}),
    ("SR", "SR (steps 10)", lambda params: {"max_steps": 10}),
    ("VSKNN", "V-SKNN", vsknn_settings),
    ("STAN", "STAN", stan_settings),
]


@functools.lru_cache(maxsize=1)
def read(folder: Path) -> SessionData:
    return assemble(folder.name, read_lines(folder / "train.txt.gz"), read_lines(folder / "test.txt.gz"), None)


def measure(folder: Path, model: str, change=None, **settings) -> tuple[dict[str, float], dict[str, float]]:
    """Metrics in percent over all test instances and over those with a repeated target, trained on all of train."""
    fixed = {"device": "cpu", "MAX_ITEM_LIST_LENGTH": 100, "metrics": ["Hit", "MRR"], "topk": list(TOPK)}
    config = load_config(model, folder.name, config_dict=fixed | settings)
    datasets = SessionDataset(config, read(folder)).build()
    built = config.model_class(config, datasets[0])
    if change:
        change(built)
    ranks = rank_all(built, build_loaders(config, datasets)[2], torch.device("cpu"))
    return tuple(
        {name: 100 * value for name, value in evaluate(part, TOPK, ["Hit", "MRR"]).items()}
        for part in (ranks, ranks.select(ranks.is_repeat))
    )


@pytest.fixture
def folder(request, shared_data):
    path = shared_data / request.param
    if not (path / "reference.json").is_file():
        pytest.skip(f"needs ../shared/data/{request.param}")
    return path


@pytest.mark.parametrize(("model", "row", "settings_of"), ROWS, ids=[f"{model}-{row}" for model, row, _ in ROWS])
@pytest.mark.parametrize("folder", DATA_SETS, indirect=True)
def test_figures_agree_with_the_reference(folder, model, row, settings_of):
    reference = json.loads((folder / "reference.json").read_text())[row]
    found, on_repeats = measure(folder, model, **settings_of(reference.get("params", {})))
    for k in TOPK:
        assert found[f"hit@{k}"] == pytest.approx(reference[f"R@{k}"], abs=TOLERANCE)
        assert found[f"mrr@{k}"] == pytest.approx(reference[f"M@{k}"], abs=TOLERANCE)
    if "R@20 on repeated targets" in reference:
        assert on_repeats["hit@20"] == pytest.approx(reference["R@20 on repeated targets"], abs=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["tmall"], indirect=True)
def test_own_items_alone_reach_the_published_figures(folder):
    found, _ = measure(folder, "OwnItems", lambda model: model.popularity.zero_())
    assert found["hit@20"] == pytest.approx(45.27, abs=0.005)
    assert found["mrr@20"] == pytest.approx(18.47, abs=0.005)
    with_popularity, _ = measure(folder, "OwnItems")
    assert 0 < with_popularity["hit@20"] - found["hit@20"] < 0.6
