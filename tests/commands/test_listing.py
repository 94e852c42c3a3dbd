"""``list`` and ``doctor``: tables of what there is, and what is broken here."""

import argparse
import sys

import pytest

from recbole_tme import list_datasets, list_keys, list_runs, run
from recbole_tme.commands import doctor
from recbole_tme.commands import list as listing
from recbole_tme.config.load import load_config
from recbole_tme.errors import UserError
from recbole_tme.utils import versions


def command(name: str, *arguments: str) -> int:
    parser = argparse.ArgumentParser()
    module = {"list": listing, "doctor": doctor}[name]
    module.add_arguments(parser)
    return module.run(parser.parse_args(arguments))


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_keys_are_everything_that_can_be_set():
    keys = list_keys("TMEGNN").set_index("key")
    assert set(keys.index) | {"model", "dataset"} == set(load_config("TMEGNN", "toy").plain())
    assert keys.loc["dropout_prob", ["default", "type", "range"]].tolist() == ["0.5", "float", "[0, 1)"]
    assert keys.loc["dropout_prob", "file"] == "model/TMEGNN.yaml"
    assert keys.loc["seed", "range"] == "[0, 4294967295]"
    assert keys.index[0] == "embedding_size"


def test_list_keys_fits_the_terminal_with_the_models_own_keys_first(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert command("list", "keys", "recbole:NARM") == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    heads = [line for line in lines if not line.startswith(" ")]
    assert len(heads) == len(list_keys("recbole:NARM"))
    assert heads[0].startswith("embedding_size = 64") and "model/NARM.yaml" in heads[0]
    assert any(line.startswith("dropout_probs = [0.25, 0.5]") for line in heads)


def test_list_keys_can_be_filtered(capsys):
    assert command("list", "keys", "TMEGNN", "dropout") == 0
    heads = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert 0 < len(heads) < 5 and any(head.startswith("dropout_prob = 0.5") for head in heads)
    with pytest.raises(UserError, match="'zebra'"):
        command("list", "keys", "TMEGNN", "zebra")


def test_list_runs_shows_finished_and_broken_off_ones(capsys):
    assert command("list", "runs") == 0 and "no runs below runs" in capsys.readouterr().out
    first = run("SPop", "toy", show_progress=False)
    second = run("TMEGNN", "toy", show_progress=False, epochs=1, embedding_size=8)
    (second.path / "metrics.json").unlink()
    table = list_runs("runs").set_index("run")
    assert table.loc[str(first.path), "state"] == "finished" and table.loc[str(second.path), "state"] == "interrupted"
    assert table.loc[str(first.path), "MRR@20"] == first.metrics["MRR@20"] and table["MB"].min() > 0
    assert command("list", "runs") == 0
    printed = capsys.readouterr().out
    assert str(second.path) in printed and "interrupted" in printed and max(map(len, printed.splitlines())) <= 100


def test_list_models_shows_a_plugins(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "from recbole.model.abstract_recommender import SequentialRecommender\n"
        "class Mine(SequentialRecommender):\n    'My own model.'\n"
    )
    assert command("list", "models", "--plugin=mine.py") == 0
    del sys.modules["recbole_tme_plugin_mine"]
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["Mine"].split(maxsplit=2)[1:] == ["plugin", "My own model."]
    assert "ours" in lines["TMEGNN"] and "RecBole" in lines["GRU4Rec"] and "FDSA" not in lines


def test_list_datasets_shows_what_is_ready(tmp_path, capsys, cache_directory):
    (tmp_path / "data" / "mine").mkdir(parents=True)
    rows = {name: (state, text) for name, state, text in list_datasets(tmp_path / "data").values.tolist()}
    assert rows["mine"] == ("ready", "your own")
    assert rows["tmall"][0] == "on demand"
    assert {"tmall", "toy", "ml100k-sessions"} <= set(rows)
    assert all(text for _, text in rows.values())
    assert command("list", "datasets", "--data_path=data") == 0
    assert "mine" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["keys"], "list keys needs a model"),
        (["keys", "tmegnn"], r"did you mean TMEGNN\?"),
        (["keys", "FDSA"], "item features"),
        (["models", "TMEGNN"], "takes no further argument"),
        (["models", "--plugin=none.py"], r"none\.py does not exist"),
    ],
)
def test_what_cannot_be_listed(arguments, message):
    with pytest.raises(UserError, match=message):
        command("list", *arguments)


def test_doctor_finds_this_environment_well(capsys):
    assert command("doctor") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "everything needed works"
    for package in ("python", "recbole", "torch", "numpy", "pandas"):
        assert any(line.startswith("ok") and f" {package} " in line for line in lines), package
    assert any("device: " in line for line in lines) and any("threads: " in line for line in lines)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"numpy": "1.26.4", "pyarrow": "26.0.1"}, "broken  pyarrow >= 26 refuses NumPy 1"),
        ({"scipy": None}, "broken  scipy is not installed; tested: >=1.11, <2"),
        ({"torch": "3.1.0"}, "note    torch 3.1.0 is outside what was tested: >=2.6, <2.14"),
        ({"ray": None}, "ok      ray not installed (optional)"),
        ({"ray": None}, "note    no Ray: no tune"),
        ({"ray": "2.60.0", "numpy": "2.4.1"}, "note    Ray 2.7 and later: stock RecBole's own search by Ray fails"),
        ({"numpy": "2.1.0", "ray": "2.6.3", "setuptools": "80.0"}, "note    Ray 2.6 uses names that NumPy 2 dropped"),
        ({"pandas": "3.1.1", "numpy": "2.1.0", "ray": None}, "note    pandas 3: stock RecBole data sets are refused"),
    ],
)
def test_doctor_names_what_is_wrong(monkeypatch, capsys, changes, line):
    have = versions.installed_versions() | changes
    present = {package: version for package, version in have.items() if version is not None}
    monkeypatch.setattr(versions, "installed_versions", lambda: present)
    code = command("doctor")
    output = capsys.readouterr().out
    assert line in output
    assert code == (1 if line.startswith("broken") else 0)


def test_doctor_reports_an_import_that_fails(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "scipy", None)
    assert command("doctor") == 1
    assert "broken  import scipy: ModuleNotFoundError" in capsys.readouterr().out


def test_doctor_reports_folders_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert command("doctor", "--run_dir=file/runs") == 1
    assert "broken  run_dir file/runs cannot be written" in capsys.readouterr().out
    assert command("doctor", "--run_dir=/proc/runs") == 1
    assert command("doctor", "--run_dir=new/deep/runs") == 0
    assert not (tmp_path / "new").exists()
