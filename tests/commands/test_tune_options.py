"""Options of a study: budgets, what is refused, and tuned models that go on into a comparison."""

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from helpers.tuner import Driver

from recbole_tme.api import tuning
from recbole_tme.cli import main
from recbole_tme.tuning.plan import Budget
from recbole_tme.tuning.study import Study


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("40", Budget(trials=40)),
        ("90s", Budget(seconds=90)),
        ("30m", Budget(seconds=1800)),
        ("1.5h", Budget(seconds=5400)),
        ("1d", Budget(seconds=86400)),
        ("2gpuh", Budget(gpu_hours=2)),
        ("40, 2h,0.5gpuh", Budget(trials=40, seconds=7200, gpu_hours=0.5)),
    ],
)
def test_budgets(text, budget):
    assert Budget.parse(text) == budget and str(budget)


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["--budget=0"], "zero"),
        (["--budget=0m"], "zero"),
        (["--budget=0gpuh"], "zero"),
        (["--budget=soon"], "soon"),
        (["--budget=1.5"], "whole"),
        (["--budget=5,6"], "twice"),
        (["--budget=5", "--num-samples=6"], "differ"),
        (["--budget=2gpuh", "--gpus-per-trial=0"], "GPU"),
        (["--num-samples=0"], "num-samples"),
        (["--final-seeds=-1"], "final-seeds"),
        (["--cpus-per-trial=10000"], "CPUs"),
        (["--gpus-per-trial=999"], "GPUs"),
        (["--cpus-per-trial=0"], "cpus"),
        (["--gpus-per-trial=1.5"], "1.5"),
        (["--ray-address=127.0.0.1:1"], "127.0.0.1:1"),
        (["--ray-address=nonsense"], "HOST:PORT"),
        (["--space=missing.yaml"], "missing.yaml"),
        (["--space=bad.yaml"], "bad.yaml:1"),
        (["--space=empty.yaml"], "empty"),
        (["--model=TMEGN"], "TMEGNN"),
        (["--model=OwnItems"], "--space"),
        (["--lerning_rate=1"], "learning_rate"),
        (["--valid_metric=MRR@7"], "valid_metric"),
        (["--select_on=test"], "select_on"),
        (["--nproc=2"], "nproc"),
        (["--search=grid", "--space=range.yaml"], "grid"),
        (["--resume=nowhere"], "nowhere"),
        (["--resume"], "no study"),
        (["--resume", "--epochs=3"], "epochs"),
        (["--resume=nowhere", "--search=random"], "search"),
        (["--model=STAN", "--models=STAN,SR"], "--models"),
        (["--models=STAN,STAN"], "twice"),
        (["--compare"], "--models"),
        (["stray"], "stray"),
    ],
)
def test_each_bad_option_gets_one_line_and_leaves_nothing(argv, named, capsys, tmp_path):
    if any(arg.startswith(("--ray", "--cpus", "--gpus")) for arg in argv):
        pytest.importorskip("ray")
    if not any(arg.startswith(("--search", "--num", "--final")) for arg in argv):
        argv = [*argv, "--search=random"] if not any(arg.startswith("--resume") for arg in argv) else argv
    (tmp_path / "bad.yaml").write_text("learning_rat: {choice: [1]}")
    (tmp_path / "empty.yaml").write_text("learning_rate: {choice: []}")
    (tmp_path / "range.yaml").write_text("learning_rate: {uniform: [0.1, 0.2]}")
    named_study = any(arg.startswith("--resume=") for arg in argv)
    assert main(["tune", *argv] if named_study else ["tune", "--dataset=toy", *argv]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and named in lines[0]
    assert not (tmp_path / "runs").exists()


def test_tuned_models_are_handed_to_compare(monkeypatch, tmp_path):
    """With a stand-in for Ray and for the comparison: what is tuned, where, and what the comparison is told."""
    handed = []

    def plan_comparison(*planned):
        handed.append(planned)

    monkeypatch.setattr(tuning, "plan_comparison", plan_comparison)
    monkeypatch.setattr(tuning, "carry_out", lambda planned, ray_address: SimpleNamespace(failures=[]))
    monkeypatch.setattr(tuning, "connected", lambda address, resources: nullcontext())
    monkeypatch.setattr(Study, "run", lambda study: Driver()(study))
    argv = ["tune", "--models=SR,recbole:STAMP", "--compare", "--num-samples=2", "--search=random", "--dataset=toy"]
    assert main([*argv, "--n_rules=20", "--epochs=1"]) == 0
    ((models, dataset, seeds, files, tuned, settings),) = handed
    assert (models, dataset, seeds, files) == (["SR", "recbole:STAMP"], "toy", 3, ())
    assert settings == {"n_rules": 20, "epochs": 1}
    assert sorted(path.parent.name for path in tuned.glob("*/best.yaml")) == ["SR", "recbole-STAMP"]
    assert tuned.parent == Path("runs/toy")
    for folder in tuned.iterdir():
        record = json.loads((folder / "study.json").read_text())
        assert record["trials"] == 2 == record["finished"] and record["budget"] == "2 trials"
    best = yaml.safe_load((tuned / "SR" / "best.yaml").read_text())
    searched = {"max_steps", "weighting"}
    assert best["n_rules"] == 20 and set(best) == {"model", "dataset", "n_rules", "epochs", "threads"} | searched
    assert "n_rules" not in yaml.safe_load((tuned / "recbole-STAMP" / "best.yaml").read_text())
    assert not list(Path("runs").rglob("metrics.json"))


def test_a_missing_library_is_said_politely(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["tune", "--dataset=toy", "--search=optuna"]) == 2
    assert "[tune]" in capsys.readouterr().err
    assert not Path("runs").exists()
