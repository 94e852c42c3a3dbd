"""The examples: the model of docs/new_model.md is sound, and the page shows it as it is."""

import re
from pathlib import Path

import pytest

from recbole_tme.cli import main
from recbole_tme.config.load import load_config
from recbole_tme.models import registry
from recbole_tme.testing import check_model
from recbole_tme.tuning.space import load_space

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
FILE = EXAMPLES / "residual_graph.py"


@pytest.fixture(autouse=True)
def example(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    registry.load_plugin(FILE)


def test_the_example_passes_every_check():
    check_model("ResidualGraph", {"embedding_size": 32})


def test_the_example_runs_by_the_command_in_its_docstring(monkeypatch):
    words = re.search(r"recbole-tme (run .*)", FILE.read_text())[1].split()
    words = [word.replace("examples/", f"{EXAMPLES}/") for word in words]
    assert main([*words, "--epochs=1", "--embedding_size=16", "--show_progress=False"]) == 0
    (metrics,) = Path("runs/toy/ResidualGraph").glob("*/metrics.json")
    assert "loss_norm" in (metrics.parent / "history.csv").read_text()


def test_settings_and_search_space_are_found_beside_the_example():
    config = load_config("ResidualGraph", "toy", config_dict={"device": "cpu"})
    assert config["n_layers"] == 2 and config["norm_weight"] == 1e-4
    space = load_space(config)
    assert space.source == EXAMPLES / "ResidualGraph.space.yaml"
    assert [parameter.name for parameter in space.parameters][:2] == ["n_layers", "dropout_prob"]


def test_the_page_shows_the_files_as_they_are():
    page = (ROOT / "docs" / "new_model.md").read_text()
    blocks = {text.strip() for text in re.findall(r"```(?:python|yaml)\n(.*?)```", page, re.DOTALL)}
    for name in ("residual_graph.py", "ResidualGraph.yaml", "ResidualGraph.space.yaml"):
        assert (EXAMPLES / name).read_text().strip() in blocks, name


def test_a_model_is_one_short_file():
    assert len(FILE.read_text().splitlines()) <= 60
