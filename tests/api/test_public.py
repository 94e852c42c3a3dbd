"""The public Python API: cheap to import, complete, and what a notebook records repeats what it did."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import recbole_tme
from recbole_tme import UserError, compare, load_run, prepare, run
from recbole_tme.cli import main
from recbole_tme.runs.find import named_run

ROOT = Path(__file__).parents[2]
QUICK = {"show_progress": False, "epochs": 2, "embedding_size": 8, "device": "cpu"}


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return run("TMEGNN", "toy", run_dir=tmp_path_factory.mktemp("api"), **QUICK)


def test_importing_is_cheap_and_names_everything():
    code = (
        "import sys, recbole_tme; missing = set(recbole_tme.__all__) - set(dir(recbole_tme)); "
        "print(missing, [m for m in ('torch', 'recbole', 'pandas', 'numpy', 'ray') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "set() []", done.stderr
    for name in recbole_tme.__all__:
        assert getattr(recbole_tme, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        recbole_tme.nothing  # noqa: B018


def test_a_run_speaks_in_the_units_of_the_tables(trained):
    result = json.loads((trained.path / "metrics.json").read_text())
    assert trained.metrics["P@20"] == pytest.approx(100 * result["test"]["hit@20"])
    assert trained.valid_metrics["MRR@20"] == pytest.approx(100 * result["valid"]["mrr@20"])
    assert trained.history["epoch"].tolist() == [1, 2] and trained.best_epoch == result["epoch"]
    assert trained.history["valid MRR@20"].max() == pytest.approx(trained.valid_metrics["MRR@20"])
    assert trained.slices.loc["all", "instances"] == result["protocol"]["test_instances"]
    assert trained.slices.loc["all", "P@20"] == pytest.approx(trained.metrics["P@20"])
    assert trained.settings["embedding_size"] == 8
    assert "TMEGNN on toy, seed 2020" in repr(trained) and "P@20" in repr(trained)
    assert trained._repr_html_().startswith("<table") and str(trained.path) in str(trained)


def test_the_recorded_command_repeats_the_run(trained, tmp_path):
    words = shlex.split(trained.command)
    assert words[:2] == ["recbole-tme", "run"]
    moved = [word for word in words[1:] if not word.startswith("--run_dir=")]
    assert main([*moved, f"--run_dir={tmp_path}"]) == 0
    again = load_run(tmp_path)
    assert again.metrics == trained.metrics and again.path != trained.path
    assert np.array_equal(np.load(again.path / "ranks.npz")["better"], np.load(trained.path / "ranks.npz")["better"])


def test_the_recorded_command_names_plugins_and_data_sets_as_they_are(tmp_path):
    (tmp_path / "my plug.py").write_text(
        "from recbole_tme.models.tmegnn import TMEGNN\n\n\nclass Plugged(TMEGNN):\n    'A model.'\n"
    )
    clicks = pd.DataFrame({"session": np.repeat(range(60), 3), "item": list("abcdef") * 30, "time": range(180)})
    clicks.to_csv("clicks.csv", index=False)
    prepare("clicks.csv", "2024")
    small = {"topk": [1], "valid_metric": "MRR@1", "rank_low": 1, "rank_high": 2} | QUICK
    first = run("Plugged", "2024", plugin="my plug.py", run_dir="1", **small)
    assert main(shlex.split(first.command)[1:]) == 0
    assert len(list(Path("1/2024/Plugged").iterdir())) == 2
    assert load_run("1").metrics == first.metrics


def test_a_run_is_loaded_by_its_directory_a_folder_or_as_the_latest(trained, monkeypatch):
    monkeypatch.chdir(trained.path.parents[2])
    Path("runs").symlink_to(".")
    for name in (trained.path, str(trained.path.parent), trained.path.parents[1], "latest"):
        assert load_run(name).path.resolve() == trained.path.resolve()


def test_where_there_is_no_run_the_line_says_so(tmp_path):
    with pytest.raises(UserError, match="holds no run yet"):
        load_run("latest")
    broken_off = tmp_path / "runs" / "toy" / "M" / "20260101T000000-s1-aaaaaaaa"
    broken_off.mkdir(parents=True)
    (broken_off / "config.yaml").write_text("model: TMEGNN\n")
    with pytest.raises(UserError, match="no finished run; --resume="):
        load_run("latest")
    assert named_run("latest", finished=False) == Path("runs/toy/M") / broken_off.name
    with pytest.raises(UserError, match="is not a run directory"):
        load_run("nowhere")


def test_recommendations_have_titles_and_count_sessions_from_1(trained):
    items = trained.recommender.items
    assert "TMEGNN over 80 items" in repr(trained.recommender) and "80 items" in trained.recommender._repr_html_()
    table = trained.recommend([items[:2], items[3:4]], k=3)
    assert table["session"].tolist() == [1] * 3 + [2] * 3 and table["rank"].tolist() == [1, 2, 3] * 2


def test_a_comparison_is_frames_and_a_page():
    found = compare(["SPop", "OwnItems"], "toy", seeds=1, show_progress=False)
    frame = found.to_frame()
    assert set(frame.index) == {"SPop", "OwnItems"} and frame.loc["SPop", "P@20"] == pytest.approx(
        next(one for one in found.runs if one.model == "SPop").metrics["P@20"]
    )
    differences = found.differences()
    assert len(differences) == 2 and set(differences["metric"]) == {"P@20", "MRR@20"}
    best, other = frame.index
    assert differences.set_index("metric").loc["P@20", "difference"] == pytest.approx(
        frame.loc[other, "P@20"] - frame.loc[best, "P@20"]
    )
    assert found.html.startswith("<!doctype html>") or found.html.startswith("<!DOCTYPE html>")
    assert "SPop" in repr(found) and "<table" in found._repr_html_() and found.failures == []
    again = compare("SPop,OwnItems", "toy", seeds=1, show_progress=False)
    assert [one.path for one in again.runs] == [one.path for one in found.runs]


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [[3], 1])
def test_what_a_comparison_records_repeats_it(seeds, capsys):
    found = compare(["SPop", "SR n_rules=5"], "toy", seeds=seeds, show_progress=False)
    command = shlex.split(json.loads((found.path / "plan.json").read_text())["command"])
    assert main([*command[1:], "--dry-run"]) == 0
    assert "2 runs, 0 of them to be trained" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("source", ["script", "standard input"])
def test_a_script_needs_no_guard_and_no_file(source, tmp_path):
    """Each run of a comparison has a process of its own, which must not run the caller's script again."""
    code = (
        "import recbole_tme\nprint('once')\n"
        "found = recbole_tme.compare(['SPop', 'OwnItems'], 'toy', seeds=1, show_progress=False)\n"
        "print(len(found.runs))\n"
    )
    (tmp_path / "script.py").write_text(code)
    command = [sys.executable, "script.py"] if source == "script" else [sys.executable]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, input=code, capture_output=True, text=True
    )
    assert done.stdout.split() == ["once", "2"], done.stderr


def test_a_data_set_is_prepared_and_prints_what_is_in_it(tmp_path):
    clicks = pd.DataFrame({"visit": np.repeat(range(60), 3), "sku": list("abcdef") * 30, "when": range(180)})
    clicks.to_csv("clicks.csv", index=False)
    found = prepare("clicks.csv", "shop", session="visit", item="sku", time="when")
    assert found.path == Path("dataset_atomic/shop") and "sessions" in str(found) and "<pre>" in found._repr_html_()
    assert run("SPop", found.name, data_path=str(found.path.parent), show_progress=False,
               topk=[1], valid_metric="MRR@1").dataset == "shop"  # fmt: skip


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: run("TMEGN", "toy"), "TMEGNN"),
        (lambda: run("TMEGNN", "toy", lerning_rate=1), "learning_rate"),
        (lambda: run(resume="nowhere"), "nowhere"),
        (lambda: compare([], "toy"), "--models"),
        (lambda: compare(["SPop"], "toy", workers=0), "--workers"),
        (lambda: recbole_tme.list_keys("Nobody"), "Nobody"),
    ],
)
def test_bad_input_is_one_line(call, named):
    with pytest.raises(UserError) as error:
        call()
    assert named in str(error.value) and "\n" not in str(error.value)
    assert not Path("runs").exists()
