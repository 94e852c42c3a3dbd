"""``recbole-tme significance``: from run directories to tables, and one clear line for runs that are no pair."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from recbole_tme.cli import main
from recbole_tme.config.load import load_config
from recbole_tme.evaluation.ranks import Ranks
from recbole_tme.evaluation.significance import compare
from recbole_tme.experiment.run import run

ROOT = Path(__file__).parents[2]
QUICK = {"show_progress": False, "epochs": 1, "embedding_size": 8, "rank_low": 3, "rank_high": 20}


@pytest.fixture(scope="module")
def toy_runs(tmp_path_factory) -> dict[str, Path]:
    """Finished runs by a short name."""
    folder = str(tmp_path_factory.mktemp("significance") / "runs")
    wanted = {
        "spop": ("SPop", {}),
        "own": ("OwnItems", {}),
        "tme1": ("TMEGNN", QUICK | {"seed": 1}),
        "tme2": ("TMEGNN", QUICK | {"seed": 2}),
        "plain": ("TMEGNN", QUICK | {"seed": 1, "triplet_weight": 0.0}),
    }
    made = {}
    for name, (model, settings) in wanted.items():
        made[name] = run(
            load_config(model, "toy", config_dict={"show_progress": False, "run_dir": folder} | settings)
        ).path
    return made


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def significance(*arguments) -> int:
    return main(["significance", *map(str, arguments)])


def error_line(capsys, *arguments) -> str:
    capsys.readouterr()
    assert significance(*arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    assert line.startswith("error: ")
    return line


def edited_copy(path: Path, tmp_path: Path, **changes) -> Path:
    """A copy of a run with another ``metrics.json`` content."""
    copy = tmp_path / f"copy of {path.name}"
    shutil.copytree(path, copy)
    result = json.loads((copy / "metrics.json").read_text())
    (copy / "metrics.json").write_text(json.dumps(result | changes))
    return copy


def test_the_program_prints_and_writes_its_tables(toy_runs, tmp_path, capsys):
    arguments = ["significance", *map(str, toy_runs.values()), "--reference=SPop", "--csv=all.csv", "--markdown=all.md"]
    arguments += ["--resamples=500", "--metrics=Recall@20,MRR@20"]
    done = subprocess.run(
        [sys.executable, "-m", "recbole_tme", *arguments],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    printed, table, page = done.stdout, Path("all.csv").read_text(), Path("all.md").read_text()
    assert main(arguments) == 0
    assert (capsys.readouterr().out, Path("all.csv").read_text(), Path("all.md").read_text()) == (printed, table, page)
    assert "OwnItems − SPop" in printed and "P@20" in printed and "| OwnItems − SPop | MRR@20 |" in page
    assert "500 bootstrap resamples" in printed and "protocol " in printed

    rows = list(csv.DictReader(table.splitlines()))
    compared = [row for row in rows if row["reference"]]
    # Four models (two of them TMEGNN with other settings, one with two seeds) in two metrics.
    assert len(rows) == 4 * 2 + 3 * 2 == len(compared) + 8
    names = {row["model"]: row["seeds"] for row in rows if not row["reference"]}
    assert names == {
        "SPop": "1",
        "OwnItems": "1",
        "TMEGNN triplet_weight=0.001": "2",
        "TMEGNN triplet_weight=0.0": "1",
    }
    ranks = {name: Ranks.load(path / "ranks.npz") for name, path in toy_runs.items()}
    (expected,) = compare(
        {"TMEGNN": [ranks["tme1"], ranks["tme2"]], "SPop": [ranks["spop"]]},
        [("TMEGNN", "SPop")],
        ["MRR@20"],
        500,
        seed_independent=["SPop"],
    )
    (line,) = [r for r in compared if r["model"] == "TMEGNN triplet_weight=0.001" and r["metric"] == "mrr@20"]
    for column, value in (
        ("points", 100 * expected.difference),
        ("low", 100 * expected.low),
        ("high", 100 * expected.high),
        ("effect", expected.effect),
        ("sessions", expected.sessions),
    ):
        assert float(line[column]) == pytest.approx(value)
    assert (float(line["p"]), line["over"]) == (pytest.approx(expected.p), "seeds and sessions")
    tested = [row for row in compared if row["p"]]
    # OwnItems and SPop have no seed; of TMEGNN without triplets there is one run, so that nothing is said of the model.
    assert {row["model"] for row in compared} - {row["model"] for row in tested} == {"TMEGNN triplet_weight=0.0"}
    assert all(float(row["p_holm"]) >= float(row["p"]) for row in tested)
    assert "no p value where a trained model has a single seed" in printed and "--seeds=3" in page


def test_runs_can_be_named_by_their_folder_and_the_reference_by_its_run(toy_runs, capsys):
    folder = toy_runs["own"].parents[1]
    assert significance(folder, folder, f"--reference={toy_runs['plain']}", "--resamples=100") == 0
    printed = capsys.readouterr().out
    assert "SPop − TMEGNN triplet_weight=0.0" in printed and "− SPop" not in printed


def test_one_model_has_intervals_and_no_comparison(toy_runs, capsys):
    assert significance(toy_runs["tme1"], toy_runs["tme2"], "--resamples=100", "--slice=last_click") == 0
    printed = capsys.readouterr().out
    assert "TMEGNN" in printed and "±" in printed and "−" not in printed and "last instance" in printed


def test_a_slice_is_that_of_the_runs_own_table(toy_runs, capsys):
    wanted = json.loads((toy_runs["own"] / "metrics.json").read_text())["slices"]["last_click"]["metrics"]["mrr@20"]
    assert significance(toy_runs["own"], "--slice=last_click", "--metrics=MRR@20", "--csv=x.csv") == 0
    (row,) = csv.DictReader(Path("x.csv").read_text().splitlines())
    assert float(row["points"]) == pytest.approx(100 * wanted)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--metrics=Q@20"], "unknown metric 'Q'"),
        (["--metrics=MRR"], "--metrics: 'MRR' should be a metric and a K"),
        (["--resamples=5"], "--resamples: 5"),
        (["--seed=-1"], "--seed"),
        (["--reference=SPp"], "did you mean SPop?"),
        (["--reference=TMEGNN"], "more than one"),
        (["--csv=no/where.csv"], "no/where.csv: No such file"),
        (["--markdown=no/where.md"], "no/where.md: No such file"),
        (["nothing-here"], "nothing-here does not exist"),
        (["."], "no finished run"),
    ],
)
def test_each_bad_option_gets_one_line(toy_runs, options, said, capsys):
    assert said in error_line(capsys, *toy_runs.values(), *options)


def test_a_slice_without_instances_gets_one_line(toy_runs, tmp_path, capsys):
    copy = edited_copy(toy_runs["own"], tmp_path)
    ranks = Ranks.load(copy / "ranks.npz")
    ranks.is_repeat[:] = False
    ranks.save(copy / "ranks.npz")
    assert "--slice=repeat: 0 test session" in error_line(capsys, copy, "--slice=repeat")


def test_runs_of_another_protocol_are_refused(toy_runs, tmp_path, capsys):
    protocol = json.loads((toy_runs["own"] / "metrics.json").read_text())["protocol"]
    changed = protocol | {"max_clicks": 3}
    line = error_line(capsys, toy_runs["spop"], edited_copy(toy_runs["own"], tmp_path, protocol=changed))
    assert "cannot be compared" in line and "max_clicks" in line and toy_runs["spop"].name in line


@pytest.mark.parametrize("change", ["order", "fewer"])
def test_runs_of_other_instances_are_refused(toy_runs, tmp_path, capsys, change):
    copy = edited_copy(toy_runs["own"], tmp_path)
    ranks = Ranks.load(copy / "ranks.npz")
    rows = list(range(len(ranks)))
    ranks.select(rows[::-1] if change == "order" else rows[1:]).save(copy / "ranks.npz")
    line = error_line(capsys, toy_runs["spop"], copy)
    assert str(copy / "ranks.npz") in line and "other test instances" in line


def test_the_same_run_twice_is_refused_as_a_second_seed(toy_runs, tmp_path, capsys):
    copy = edited_copy(toy_runs["tme1"], tmp_path)
    line = error_line(capsys, toy_runs["tme1"], copy)
    assert str(copy) in line and "one model, settings and seed" in line


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("ranks.npz", b"", "ranks.npz: not a readable ranks file"),
        ("ranks.npz", None, "ranks.npz: not a readable ranks file"),
        ("metrics.json", b"{}", "metrics.json: model is missing; this is not the metrics.json of a run"),
        ("metrics.json", None, "holds no finished run"),
        ("config.yaml", b"a: [", "config.yaml:1: not valid YAML"),
        ("config.yaml", None, "holds no finished run"),
    ],
)
def test_damaged_runs_are_named(toy_runs, tmp_path, capsys, file, content, said):
    copy = edited_copy(toy_runs["own"], tmp_path)
    (copy / file).unlink()
    if content is not None:
        (copy / file).write_bytes(content)
    assert said in error_line(capsys, copy)


def test_settings_that_cannot_change_results_do_not_make_another_model(toy_runs, tmp_path, capsys):
    copy = edited_copy(toy_runs["tme2"], tmp_path)
    settings = yaml.safe_load((copy / "config.yaml").read_text())
    (copy / "config.yaml").write_text(yaml.safe_dump(settings | {"device": "cpu", "threads": 1, "run_dir": "moved"}))
    assert significance(toy_runs["tme1"], copy, "--resamples=100") == 0
    assert "−" not in capsys.readouterr().out
