"""Run directories and bundles written before the package's modules were moved into folders."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_tme.evaluation.ranks import Ranks, rank_all
from recbole_tme.experiment.loading import load_run
from recbole_tme.models import registry
from recbole_tme.serving.bundle import read_saved
from recbole_tme.serving.saved import build_model

FIXTURES = Path(__file__).parents[1] / "fixtures" / "before_the_move"
MODELS = ("TMEGNN", "ATSRec+SRGNN")
# Single precision, and another machine's order of adding up.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.mark.parametrize("model", MODELS)
def test_a_run_from_before_the_move_ranks_as_it_did(model):
    directory = FIXTURES / model / "run"
    run = load_run(directory, {"device": "cpu"})
    assert type(run.model) is registry.resolve(model)
    then, now = Ranks.load(directory / "ranks.npz"), rank_all(run.model, run.loaders[2], torch.device("cpu"))
    for name in ("target", "session", "length", "better", "tied"):
        assert np.array_equal(getattr(then, name), getattr(now, name)), name


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", ["run", "bundle"])
def test_a_saved_model_from_before_the_move_scores_as_it_did(model, kind):
    expected = json.loads((FIXTURES / "scores.json").read_text())[model]
    built = build_model(read_saved(FIXTURES / model / kind), torch.device("cpu"))
    lengths = [len(session) for session in expected["sessions"]]
    clicks = torch.tensor([session + [0] * (max(lengths) - len(session)) for session in expected["sessions"]])
    batch = {
        built.ITEM_SEQ: clicks,
        built.ITEM_SEQ_LEN: torch.tensor(lengths),
        built.USER_ID: torch.zeros(len(lengths), dtype=torch.long),
    }
    with torch.no_grad():
        scores = built.full_sort_predict(batch).view(len(lengths), -1)[:, 1:]
    torch.testing.assert_close(scores, torch.tensor(expected["scores"]), **CLOSE)
