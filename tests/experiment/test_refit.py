"""A model trained on everything: what it is trained on, whose metrics it bears, and that nothing measures it."""

import json

import numpy as np
import pytest

from recbole_tme.cli import main
from recbole_tme.data.prepare import prepare
from recbole_tme.errors import UserError
from recbole_tme.experiment.loading import load_run
from recbole_tme.experiment.refit import refit
from recbole_tme.runs.directory import finished_runs
from recbole_tme.serving.recommender import Recommender

START = 1_569_888_616


def shop(path):
    """Two hundred sessions over 25 items, then ten sessions on two items of the last day."""
    rng = np.random.default_rng(0)
    rows = ["session_id,item_id,timestamp,name"]
    for s in range(210):
        items = rng.integers(0, 25, 4) if s < 200 else [100 + s % 2, 101 - s % 2, 100 + s % 2]
        rows += [f"s{s},p{i},{START + 600 * s + 20 * k},Title of {i}" for k, i in enumerate(items)]
    path.write_text("\n".join(rows))
    return path


def runs_of(folder) -> tuple:
    """The run and its refit below a folder."""
    found = sorted(path.parent for path in folder.rglob("metrics.json"))
    refitted = [path for path in found if (path / "refit.json").exists()]
    return next(path for path in found if path not in refitted), refitted[0]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    prepare(shop(folder / "log.csv"), "shop", folder / "data", title="name", test_ratio=0.15)
    argv = ["run", "--model=LastItemKNN", "--dataset=shop", f"--data_path={folder / 'data'}", "--device=cpu"]
    assert main([*argv, f"--run_dir={folder / 'runs'}", "--fit=all"]) == 0
    return runs_of(folder / "runs")


def test_items_of_the_last_day_are_recommended_with_their_titles(both):
    selected, refitted = both
    before, after = Recommender.load(selected), Recommender.load(refitted)
    assert "p100" not in before.items and {"p100", "p101"} <= set(after.items)
    (answer,) = after.answers([["p100"]], 1)
    assert answer.items == ["p101"] and answer.source == "model"
    assert after.titles["p101"] == "Title of 101"


def test_its_metrics_are_those_of_the_run_and_say_so(both):
    selected, _ = both
    of_run, of_refit = (json.loads((path / "metrics.json").read_text()) for path in both)
    about = of_refit.pop("refit")
    assert of_refit == {key: value for key, value in of_run.items() if key in of_refit}
    assert about["metrics_of"] == str(selected) and about["sessions"] == 210 and about["items"] == 27
    assert about["epochs"] == of_run["epoch"]


def test_nothing_measures_or_counts_it(both):
    selected, refitted = both
    assert [run.path for run in finished_runs([selected.parent])] == [selected]
    for call in (lambda: finished_runs([refitted]), lambda: load_run(refitted), lambda: refit(refitted)):
        with pytest.raises(UserError, match="trained on all sessions"):
            call()


def test_as_many_epochs_as_the_run_chose(tmp_path):
    prepare(shop(tmp_path / "log.csv"), "shop", tmp_path / "data")
    argv = ["run", "--model=SRGNN", "--dataset=shop", f"--data_path={tmp_path / 'data'}", "--device=cpu", "--epochs=3"]
    assert main([*argv, f"--run_dir={tmp_path / 'runs'}", "--embedding_size=8", "--learning_rate=0.01"]) == 0
    (run,) = finished_runs([tmp_path / "runs"])
    assert main(["refit", str(run.path), "--threads=1"]) == 0
    refitted = runs_of(tmp_path / "runs")[1]
    rows = (refitted / "history.csv").read_text().splitlines()[1:]
    assert len(rows) == run.read_metrics()["epoch"] and all(row.startswith("all,") for row in rows)
    with pytest.raises(UserError, match="--learning_rate cannot change"):
        refit(run.path, {"learning_rate": 0.1})


def test_without_a_test_set(tmp_path, capsys):
    folder = prepare(shop(tmp_path / "log.csv"), "shop", tmp_path / "data", test_ratio=0)
    assert json.loads((folder / "shop.json").read_text())["counts"]["test"]["sessions"] == 0
    argv = ["run", "--model=LastItemKNN", "--dataset=shop", f"--data_path={tmp_path / 'data'}", "--device=cpu"]
    argv.append(f"--run_dir={tmp_path / 'runs'}")
    assert main([*argv, "--fit=all"]) == 0
    run, refitted = runs_of(tmp_path / "runs")
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"] == metrics["valid"] and metrics["test_is"] == "validation"
    assert "no test sessions" in (run / "log.txt").read_text()
    assert json.loads((refitted / "refit.json").read_text())["sessions"] == 210
    assert main([*argv, "--retrain=True"]) == 2
    assert "no test sessions" in capsys.readouterr().err
    assert main(["audit", str(folder)]) == 0
