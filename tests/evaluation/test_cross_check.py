"""Our metrics against ir-measures: the lists of real runs, ours and RecBole's, evaluated by another library."""

from __future__ import annotations

import json

import ir_measures
import numpy as np
import pytest
import torch
from helpers.quick_run import MINING, quick_run
from ir_measures import RR, P, Success, nDCG

from recbole_tme.evaluation.metrics import METRICS
from recbole_tme.evaluation.ranks import Ranks, rank_all
from recbole_tme.experiment.loading import load_run

CUTS = (5, 10, 20)
THEIRS = {"hit": Success, "mrr": RR, "ndcg": nDCG, "precision": P}
RUNS = {
    "TMEGNN": MINING,
    "DANSeR": {"embedding_size": 8},
    "STAN": {},
    "OwnItemsFirst": {},
    "recbole:NARM": {"embedding_size": 8, "hidden_size": 8},
    "recbole:GRU4Rec": {"embedding_size": 8, "hidden_size": 8},
}


@pytest.fixture(scope="module", params=RUNS)
def directory(request, tmp_path_factory):
    """A finished run on the toy data set."""
    folder = tmp_path_factory.mktemp("cross-check")
    return quick_run(
        folder, request.param, metrics=["Hit", "MRR", "NDCG", "Precision"], topk=list(CUTS), **RUNS[request.param]
    )


def their_values(directory, untied: np.ndarray) -> dict[str, np.ndarray]:
    """ir-measures' value of each instance without ties, from the model's scores of all items."""
    loaded = load_run(directory.path)
    lists: list[ir_measures.ScoredDoc] = []

    def observe(scores: torch.Tensor, index: torch.Tensor) -> None:
        for row, place in zip(scores.double().cpu().numpy(), index.tolist()):
            if untied[place]:
                # Column 0 is padding, which is no item.
                lists.extend(ir_measures.ScoredDoc(str(place), str(i), row[i]) for i in range(1, len(row)))

    ranks = rank_all(loaded.model, loaded.loaders[2], loaded.config["device"], observe=observe)
    truth = [ir_measures.Qrel(str(i), str(ranks.target[i]), 1) for i in np.flatnonzero(untied)]
    measures = {f"{name}@{k}": measure @ k for name, measure in THEIRS.items() for k in CUTS}
    found = {key: np.full(len(untied), np.nan) for key in measures}
    by_measure = {str(measure): key for key, measure in measures.items()}
    for one in ir_measures.iter_calc(list(measures.values()), truth, lists):
        found[by_measure[str(one.measure)]][int(one.query_id)] = one.value
    return {key: values[untied] for key, values in found.items()}


def test_metrics_are_those_of_another_library_instance_by_instance(directory):
    ranks = Ranks.load(directory.ranks_file)
    untied = ranks.tied == 0
    assert untied.mean() > 0.3
    theirs = their_values(directory, untied)
    stored = json.loads(directory.metrics_file.read_text())["test"]
    for key, values in theirs.items():
        name, _, k = key.partition("@")
        ours = METRICS[name](ranks.rank[untied], int(k))
        np.testing.assert_allclose(ours, values, atol=1e-9, err_msg=key)
        if untied.all():
            assert stored[key] == pytest.approx(values.mean()), key
