"""``recbole-tme diagnose`` on toy runs: the figures are the run's, the files whole, and matplotlib optional."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from recbole_tme.cli import main
from recbole_tme.config.load import load_config
from recbole_tme.data.noise import insert_random_items
from recbole_tme.experiment import diagnose as command
from recbole_tme.experiment.diagnose import NOISE_RATES, robustness
from recbole_tme.experiment.loading import load_run
from recbole_tme.experiment.run import run
from recbole_tme.nn.embedding_diagnostics import diagnose
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.utils.installing import install_extra

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "TMEGNN": {"embedding_size": 8, "rank_low": 3, "rank_high": 20, "epochs": 6, "learning_rate": 0.02},
    "recbole:SASRec": {"epochs": 2, "retrain": True},
    "SPop": {},
}


@pytest.fixture(scope="module")
def toy_runs(tmp_path_factory) -> dict[str, RunDirectory]:
    shared = {"show_progress": False, "run_dir": str(tmp_path_factory.mktemp("diagnose") / "runs")}
    return {name: run(load_config(name, "toy", config_dict=shared | own)) for name, own in SETTINGS.items()}


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_matplotlib(monkeypatch):
    """As if it were not installed."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def found_in(folder: Path) -> list[dict]:
    return json.loads((folder / "diagnosis.json").read_text())


@pytest.mark.slow
def test_the_program_diagnoses_runs_side_by_side(toy_runs, tmp_path, capsys):
    paths = [str(toy_runs[name].path) for name in ("TMEGNN", "recbole:SASRec")]
    before = {path: set(os.listdir(path)) for path in paths}
    arguments = ["diagnose", *paths, "--seed=4"]
    done = subprocess.run(
        [sys.executable, "-m", "recbole_tme", *arguments, "--out=first"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    printed, found = done.stdout, found_in(tmp_path / "first")
    assert main([*arguments, "--out=second"]) == 0
    assert (capsys.readouterr().out, found_in(tmp_path / "second")) == (printed, found)
    assert printed.splitlines()[0].split() == ["TMEGNN", "recbole:SASRec"]
    assert {path: set(os.listdir(path)) for path in paths} == before
    for one, (name, directory) in zip(found, toy_runs.items()):
        assert (one["model"], one["name"], one["dataset"], one["run"]) == (name, name, "toy", str(directory.path))
        clean, *noisy = one["robustness"]["curve"]
        metrics = directory.read_metrics()
        assert clean == {"rate": 0.0, "hit@20": metrics["test"]["hit@20"], "mrr@20": metrics["test"]["mrr@20"]}
        assert [point["rate"] for point in noisy] == list(NOISE_RATES[1:])
        assert noisy[-1]["mrr@20"] < clean["mrr@20"]
        assert f"{100 * noisy[-1]['mrr@20']:.2f} ({noisy[-1]['mrr@20'] / clean['mrr@20'] - 1:+.1%})" in printed


@pytest.mark.parametrize("name", ["TMEGNN", "recbole:SASRec"])
def test_the_table_is_the_saved_one_and_popularity_counts_training_clicks(toy_runs, name, no_matplotlib):
    directory = toy_runs[name]
    assert main(["diagnose", str(directory.path)]) == 0
    (one,) = found_in(directory.path)
    loaded = load_run(directory.path)
    weights = load_file(directory.model_file)["item_embedding.weight"][1:]
    clicks = [sum(int(i) == item for i in loaded.data.train.items) for item in range(1, len(weights) + 1)]
    expected = diagnose(weights, np.array(clicks))
    assert one["embedding"]["norm_popularity"] == pytest.approx(expected.norm_popularity)
    assert one["embedding"]["singular_values"] == pytest.approx(expected.singular_values)
    assert one["embedding"]["uniformity"] == pytest.approx(expected.uniformity)
    assert (one["embedding"]["items"], one["embedding"]["dimensions"]) == tuple(weights.shape)
    trained_on_validation = sum(clicks) == len(loaded.data.train.items) and SETTINGS[name].get("retrain", False)
    assert trained_on_validation == (name == "recbole:SASRec")


def test_noisy_prefixes_are_cut_to_what_the_model_sees(tmp_path, monkeypatch):
    settings = {"show_progress": False, "epochs": 1, "MAX_ITEM_LIST_LENGTH": 2, "run_dir": str(tmp_path)}
    loaded = load_run(run(load_config("TMEGNN", "toy", config_dict=SETTINGS["TMEGNN"] | settings)).path)
    seen = []
    encode = loaded.model.full_sort_predict

    def spy(interaction):
        seen.append((interaction["item_id_list"].tolist(), interaction["item_length"].tolist()))
        return encode(interaction)

    monkeypatch.setattr(loaded.model, "full_sort_predict", spy)
    robustness(loaded, seed=1)
    rows = [row[:n] for batch in seen for row, n in zip(*batch)]
    assert len(rows) == len(NOISE_RATES) * len(loaded.data.test.instances()[0]) and max(map(len, rows)) == 2
    # Those of the highest rate, by hand: the last two clicks before each target.
    noisy = insert_random_items(loaded.data.test, NOISE_RATES[-1], len(loaded.data.tokens) - 1, seed=1)
    expected = [noisy.items[max(noisy.offsets[s], t - 2) : t].tolist() for s, t in zip(*noisy.instances())]
    assert sorted(rows[-len(expected) :]) == sorted(expected)


def test_without_matplotlib_the_numbers_are_printed_and_the_install_line_told_once(toy_runs, no_matplotlib, capsys):
    assert (
        main(["diagnose", *(str(toy_runs[name].path) for name in ("TMEGNN", "recbole:SASRec")), "--out=new/out"]) == 0
    )
    output = capsys.readouterr()
    assert "effective rank" in output.out
    (told,) = [line for line in output.err.splitlines() if "matplotlib" in line]
    assert told == f"note: no plot, it needs matplotlib; run: {install_extra('plot')}" and "pip install" in told
    assert [path.name for path in Path("new/out").iterdir()] == ["diagnosis.json"]


@pytest.mark.parametrize(("form", "begin"), [("png", b"\x89PNG\r\n"), ("svg", b"<?xml")])
def test_with_matplotlib_there_is_a_plot(toy_runs, form, begin):
    pytest.importorskip("matplotlib", reason="needs the extra: pip install 'recbole_tme[plot]'")
    assert main(["diagnose", str(toy_runs["TMEGNN"].path), "--out=out", f"--format={form}"]) == 0
    assert {path.name for path in Path("out").iterdir()} == {"diagnosis.json", f"diagnosis.{form}"}
    assert Path(f"out/diagnosis.{form}").read_bytes().startswith(begin)


def test_the_curves_of_the_plot_are_the_figures(toy_runs, monkeypatch):
    figure = pytest.importorskip("matplotlib.figure", reason="needs the extra: pip install 'recbole_tme[plot]'")
    drawn = []
    save = figure.Figure.savefig
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, *a, **k: (drawn.append(self), save(self, *a, **k))[1])
    assert main(["diagnose", str(toy_runs["TMEGNN"].path), str(toy_runs["recbole:SASRec"].path), "--out=out"]) == 0
    (drawing,) = drawn
    spectrum, hits, _ = drawing.axes
    for line, curve, one in zip(spectrum.lines, hits.lines, found_in(Path("out"))):
        assert line.get_ydata().tolist() == one["embedding"]["singular_values"] and line.get_label() == one["name"]
        assert curve.get_xdata().tolist() == pytest.approx([0, 5, 10, 20, 30])
        points = [100 * point["hit@20"] for point in one["robustness"]["curve"]]
        assert curve.get_ydata().tolist() == pytest.approx(points)


def test_matplotlib_is_not_imported_before_it_is_needed():
    code = "import sys, recbole_tme.experiment.diagnose; sys.exit('matplotlib' in sys.modules or 'ray' in sys.modules)"
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    assert subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["TMEGNN", "SPop"], "SPop has no item embedding table"),
        (["missing"], "missing does not exist"),
        (["TMEGNN", "--seed=-1"], "--seed"),
        (["TMEGNN", "--device=gpu"], "device"),
        (["TMEGNN", "--out=file/in"], "cannot write file/in: Not a directory"),
    ],
)
def test_what_cannot_be_diagnosed_gets_one_line_before_anything_is_measured(
    toy_runs, arguments, said, capsys, monkeypatch
):
    Path("file").write_text("")
    monkeypatch.setattr(command, "diagnose_run", lambda *_: pytest.fail("measured a run"))
    named = [str(toy_runs[name].path) if name in toy_runs else name for name in arguments]
    assert main(["diagnose", *named]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and said in line
