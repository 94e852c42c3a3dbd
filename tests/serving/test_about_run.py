"""What a served model's card tells of its run: as a run directory, as a bundle, and after training on everything."""

import json
import shutil

import pytest
from helpers.report_runs import make_run, some_ranks

from recbole_tme.evaluation.significance import estimate
from recbole_tme.serving.about_run import FACTS_SHAPE, run_facts
from recbole_tme.utils.shapes import mismatch


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path, "Good", some_ranks(6.0, 1))


def test_a_run_tells_results_with_intervals_date_and_sizes(run):
    found = run_facts(run)
    assert mismatch(found, FACTS_SHAPE) is None
    assert found["metrics"] == json.loads((run / "metrics.json").read_text())["test"]
    assert (found["trained"], found["train_instances"], found["test_sessions"]) == ("2026-01-01", 1000, 60)
    (wanted,) = estimate({"Good": [some_ranks(6.0, 1)]}, ["mrr@20"])
    assert found["intervals"]["mrr@20"] == pytest.approx([wanted.low, wanted.high], abs=0.01)
    assert not found["refitted"]


def test_what_a_run_does_not_have_is_not_told(run, tmp_path):
    (run / "ranks.npz").unlink()
    (run / "refit.json").write_text("{}")
    renamed = tmp_path / "mine"
    shutil.move(run, renamed)
    found = run_facts(renamed)
    assert mismatch(found, FACTS_SHAPE) is None
    assert found["intervals"] is None and found["trained"] is None and found["refitted"]
