"""Result tables, collected results and the figures in experiment files."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from recbole_tme.cli import main
from recbole_tme.config.load import load_config
from recbole_tme.errors import UserError
from recbole_tme.evaluation.ranks import Ranks
from recbole_tme.report.experiments import figures, write_figures
from recbole_tme.report.overview import overview
from recbole_tme.report.tables import markdown, read_results

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted((ROOT / "properties" / "experiment").glob("*.yaml"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """SPop with both ways to break ties, and TMEGNN on two seeds, one epoch each."""
    folder = tmp_path_factory.mktemp("runs")
    common = ["--dataset=toy", "--device=cpu", f"--run_dir={folder}", "--show_progress=False"]
    for tie_break in ("recency", "popularity"):
        assert main(["--model=SPop", f"--tie_break={tie_break}", *common]) == 0
    for seed in (1, 2):
        assert main(["--model=TMEGNN", "--embedding_size=8", "--epochs=1", f"--seed={seed}", *common]) == 0
    return folder


def rows(text: str) -> dict[str, list[str]]:
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in lines[1:] if set(cells[0]) != {"-"}}


def test_seeds_share_a_row_and_settings_do_not(runs):
    table = rows(markdown(read_results([runs])))
    assert set(table) == {"TMEGNN", "SPop tie_break=recency", "SPop tie_break=popularity"}
    assert table["TMEGNN"][0] == "2" and "±" in table["TMEGNN"][-3]
    assert table["TMEGNN"][-1] != "-", "CPU seconds of the run"
    assert table["SPop tie_break=recency"][0] == "1" and "±" not in "".join(table["SPop tie_break=recency"])


def test_a_repeated_run_is_no_further_seed(runs, tmp_path):
    results = read_results([runs])
    first = next(result for result in results if result["model"] == "TMEGNN")
    again = json.loads(json.dumps(first))
    again["test"]["mrr@20"] = 0.5
    row = rows(markdown([*results, first]))["TMEGNN"]
    assert row == rows(markdown(results))["TMEGNN"] and row[0] == "2"
    row = rows(markdown([first, again]))["TMEGNN"]
    assert (row[0], row[6]) == ("1", "50.00")
    file = tmp_path / "tmegnn.yaml"
    file.write_text(yaml.safe_dump({"model": "TMEGNN", "dataset": "toy", "embedding_size": 8, "epochs": 1}))
    assert "1 seed:" in figures(file, [first, again]) and "MRR@20 50.00" in figures(file, [first, again])


def test_a_run_from_before_a_setting_existed_differs_by_nothing_in_it(runs):
    results = read_results([runs])
    older = next(result for result in results if result["model"] == "TMEGNN")
    del older["settings"]["mining_subset"]
    assert set(rows(markdown(results))) == {"TMEGNN", "SPop tie_break=recency", "SPop tie_break=popularity"}
    older["settings"]["n_layers"] = 3
    assert {"TMEGNN n_layers=1", "TMEGNN n_layers=3"} <= set(rows(markdown(results)))


def test_collected_results_make_the_same_table_without_their_run_directories(runs, tmp_path):
    assert main(["table", str(runs), f"--collect={tmp_path / 'kept'}"]) == 0
    kept = sorted((tmp_path / "kept").rglob("*.json"))
    assert len(kept) == 4 and {file.parent.name for file in kept} == {"toy"}
    assert markdown(read_results([tmp_path / "kept"])) == markdown(read_results([runs]))
    assert not any(str(runs) in file.read_text() for file in kept), "no path of the machine is kept"


def test_kept_ranks_give_the_same_tests_and_are_known_by_their_checksums(runs, tmp_path, capsys):
    kept, collected = tmp_path / "ranks", tmp_path / "results"
    assert main(["table", str(runs), f"--keep-ranks={kept}", f"--collect={collected}"]) == 0
    assert not list(kept.rglob("*.safetensors")) and not list(kept.rglob("*.pt"))
    capsys.readouterr()
    printed = []
    for folder in (runs, kept):
        assert main(["significance", str(folder), "--resamples=200"]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert main(["table", str(kept), f"--check-ranks={collected}"]) == 0
    assert capsys.readouterr().out.count("same ranks: ") == 4
    file = next(kept.glob("*/TMEGNN/*/ranks.npz"))
    ranks = Ranks.load(file)
    ranks.better[0] += 1
    ranks.save(file)
    assert main(["table", str(kept), f"--check-ranks={collected}"]) == 1
    assert f"other ranks: {file.parent}" in capsys.readouterr().out
    shutil.rmtree(collected / "toy")
    assert main(["table", str(runs), f"--check-ranks={collected}"]) == 2


def test_collecting_twice_changes_nothing(runs, tmp_path):
    for _ in range(2):
        assert main(["table", str(runs), f"--collect={tmp_path}"]) == 0
    assert len(list(tmp_path.rglob("*.json"))) == 4


def test_figures_go_into_the_file_with_the_runs_settings(runs, tmp_path):
    results = read_results([runs])
    settings = {"model": "SPop", "dataset": "toy", "tie_break": "popularity"}
    files = {name: tmp_path / f"{name}.yaml" for name in ("measured", "other", "seeds")}
    files["measured"].write_text(yaml.safe_dump(settings))
    files["other"].write_text("# Why\n" + yaml.safe_dump(settings | {"MAX_ITEM_LIST_LENGTH": 3}))
    files["seeds"].write_text(yaml.safe_dump({"model": "TMEGNN", "dataset": "toy", "embedding_size": 8, "epochs": 1}))
    for _ in range(2):
        write_figures(tmp_path, results)
    (measured,) = (r for r in results if r["settings"].get("tie_break") == "popularity")
    head = files["measured"].read_text().splitlines()[0]
    assert head.startswith("# Measured on the test set, 1 seed: ")
    assert f"MRR@20 {100 * measured['test']['mrr@20']:.2f}." in head
    assert files["other"].read_text().startswith("# Measured: not yet.\n# Why\n")
    assert "2 seeds" in files["seeds"].read_text().splitlines()[0]
    assert yaml.safe_load(files["measured"].read_text()) == settings


def test_results_without_settings_are_nobodys_figures(runs, tmp_path):
    file = tmp_path / "spop.yaml"
    file.write_text("model: SPop\ndataset: toy\ntie_break: popularity\n")
    results = [{key: value for key, value in r.items() if key != "settings"} for r in read_results([runs])]
    assert figures(file, results) == "# Measured: not yet."


def test_what_cannot_be_collected_or_annotated_is_one_line(runs, tmp_path, capsys):
    with pytest.raises(UserError, match="holds no experiment file"):
        write_figures(tmp_path, [])
    shutil.copy(next(runs.rglob("metrics.json")), tmp_path / "result.json")
    assert main(["table", str(tmp_path / "result.json"), f"--collect={tmp_path}"]) == 2
    assert "no finished run" in capsys.readouterr().err


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_experiment_files_are_configurations_of_what_their_name_says(file):
    config = load_config(config_files=[file], config_dict={"device": "cpu"})
    _, model, dataset = file.stem.split("_")
    assert (config.registered_name.replace(":", "-"), config["dataset"]) == (model, dataset)


def test_figures_in_experiment_files_are_those_of_the_kept_results():
    results = [json.loads(file.read_text()) for file in sorted((ROOT / "results").rglob("*.json"))]
    assert len(EXPERIMENTS) > 30
    for file in EXPERIMENTS:
        assert file.read_text().splitlines()[0] == figures(file, results), file.name


def test_the_overview_takes_a_models_best_settings_by_validation_and_never_by_test():
    def result(model, seed, valid, test, **settings):
        return {
            "model": model, "seed": seed, "settings": settings, "valid": {"mrr@20": valid},
            "test": {"hit@20": test, "mrr@20": test / 2}, "protocol": {"dataset": "shop", "fingerprint": "f"},
        }  # fmt: skip

    results = [
        result("A", 1, 0.30, 0.10, lr=1),
        result("A", 2, 0.40, 0.20, lr=1),
        result("A", 1, 0.20, 0.90, lr=2),
        result("B", 1, 0.10, 0.25, lr=1),
    ]
    assert overview(results, ["B", "A"]).splitlines()[2:] == [
        "| B | 25.00 / 12.50 |",
        "| A | 15.00 / 7.50 (2 seeds) |",
    ]
    with pytest.raises(UserError, match="--models: C has no result"):
        overview(results, ["C"])
