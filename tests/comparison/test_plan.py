"""What ``recbole-tme compare`` is going to train: rows, seeds, settings, what is there already, and what is refused."""

import json
from pathlib import Path

import pytest
import yaml

from recbole_tme.cli import main
from recbole_tme.comparison.plan import parse_seeds, plan
from recbole_tme.config.load import load_config, parse_overrides
from recbole_tme.errors import UserError
from recbole_tme.experiment.loading import find_run
from recbole_tme.experiment.run import run
from recbole_tme.models.registry import OUR_MODELS, resolve
from recbole_tme.runs.directory import RunDirectory

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def planned(models, *overrides, seeds="1", files=(), tuned=None, dataset="toy"):
    return plan(models, dataset, [Path(file) for file in files], parse_overrides(overrides), seeds, tuned)


def write(name, settings) -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(yaml.safe_dump(settings))
    return name


def test_one_model_stands_in_several_rows_with_settings_of_its_own():
    comparison = planned("TMEGNN, TMEGNN triplet_weight=0 , ATSRec+SASRec,ATSRec backbone=SRGNN,recbole:SRGNN, NARM")
    assert [row.name for row in comparison.rows] == [
        "TMEGNN triplet_weight=0.001",
        "TMEGNN triplet_weight=0.0",
        "ATSRec+SASRec",
        "ATSRec+SRGNN",
        "recbole:SRGNN",
        "recbole:NARM",
    ]
    assert [row.configs[0]["triplet_weight"] for row in comparison.rows[:2]] == [0.001, 0.0]
    for name in ("TMEGNN", "TMEGNN triplet_weight=0.001"):
        assert comparison.row(name) is comparison.rows[0]
    assert comparison.row("NARM") is comparison.row("recbole:NARM") is comparison.rows[5]


def test_commas_in_brackets_separate_no_models():
    comparison = planned("SRGNN clip_grad_norm={max_norm: 5, norm_type: 2},SPop")
    assert comparison.rows[0].configs[0]["clip_grad_norm"] == {"max_norm": 5, "norm_type": 2}
    assert len(comparison.rows) == 2


def test_settings_for_all_reach_the_models_that_know_them():
    file = write("shared.yaml", {"embedding_size": 12, "triplet_weight": 0.5, "learning_rate": 0.5, "seed": 5})
    comparison = planned(
        "TMEGNN learning_rate=0.25,recbole:GRU4Rec,SPop", "--learning_rate=0.125", "--epochs=7", files=[file]
    )
    configs = [row.configs[0] for row in comparison.rows]
    assert [config["learning_rate"] for config in configs] == [0.25, 0.125, 0.125]
    assert [config["embedding_size"] for config in configs[:2]] == [12, 12]
    assert "embedding_size" not in configs[2].plain() and "triplet_weight" not in configs[1].plain()
    # One pass is all that a model of counts needs.
    assert [config["epochs"] for config in configs] == [7, 7, 1]
    assert {config["seed"] for config in configs} == {5}


def test_a_backbone_for_all_is_for_models_that_take_one():
    comparison = planned("ATSRec,ATSRec+SRGNN,SPop", "--backbone=SASRec")
    assert [row.name for row in comparison.rows] == ["ATSRec+SASRec", "ATSRec+SRGNN", "SPop"]


def test_seeds_are_counted_from_the_key():
    assert planned("SRGNN", "--seed=7", seeds="2").seeds == (7, 8)
    assert planned("SRGNN", "--seed=7", seeds="1,2").seeds == (1, 2)


@pytest.mark.parametrize(("text", "seeds"), [("3", [9, 10, 11]), ("7,", [7]), ("[4, 2]", [4, 2]), ("1,2,5", [1, 2, 5])])
def test_seeds_are_counted_or_listed(text, seeds):
    assert parse_seeds(text, 9) == seeds


def test_models_that_no_seed_changes_are_run_once():
    comparison = planned("SRGNN,STAN,SPop", seeds="4,5,6")
    seeds = [[config["seed"] for config in row.configs] for row in comparison.rows]
    assert seeds == [[4, 5, 6], [4], [4]]
    order = [(row.name, config["seed"]) for row, config in comparison.runs()]
    assert order == [("SRGNN", 4), ("STAN", 4), ("SPop", 4), ("SRGNN", 5), ("SRGNN", 6)]


def test_only_models_without_random_numbers_are_run_once():
    """Two seeds give the very same ranks for those, and for no other."""
    free = [name for name in OUR_MODELS if "training_free" in resolve(name).__module__]
    assert len(free) >= 8
    rows = planned(",".join(["SRGNN", *free]), seeds="2").rows
    assert [row.entry.seed_independent for row in rows] == [False] + [True] * len(free)
    for row in rows[1:]:
        ranks = []
        for seed in (1, 2):
            config = load_config(row.name, "toy", config_dict={"seed": seed, "show_progress": False})
            ranks.append(run(config).ranks_file.read_bytes())
        assert ranks[0] == ranks[1], row.name


def test_a_searched_models_settings_are_below_those_of_the_command_line():
    write("tuned/SRGNN/tune-1/best.yaml", {"model": "SRGNN", "dataset": "toy", "learning_rate": 0.5, "step": 3}
          | {"threads": 1, "seed": 99})  # fmt: skip
    Path("tuned/SRGNN/tune-1/study.json").write_text(json.dumps({"trials": 20, "finished": 18}))
    best = {"model": "ATSRec", "backbone": "recbole:SASRec", "dataset": "toy", "adv_epsilon": 0.5}
    write("tuned/ATSRec/tune-1/best.yaml", best)
    write("tuned/other/best.yaml", {"model": "SRGNN", "dataset": "tmall", "learning_rate": 0.75})
    comparison = planned("SRGNN,SRGNN step=2,ATSRec+SASRec,SPop", "--learning_rate=0.25", tuned=Path("tuned"))
    configs = [row.configs[0] for row in comparison.rows]
    assert [config["step"] for config in configs[:2]] == [3, 2] and configs[2]["adv_epsilon"] == 0.5
    assert {config["learning_rate"] for config in configs} == {0.25}
    # What a search was made with, but does not change what a run computes, is left behind.
    assert {config["seed"] for config in configs} == {2020} and {config["threads"] for config in configs} == {None}
    assert [row.study and row.study.record for row in comparison.rows] == [{"trials": 20, "finished": 18}] * 2 + [
        {},
        None,
    ]


REFUSED = [
    ("TMEGNN,NoSuch", [], "NoSuch"),
    ("TMEGNM", [], "did you mean TMEGNN"),
    ("TMEGNN,SPop", ["--learning_rat=1"], "did you mean learning_rate"),
    ("TMEGNN learning_rat=1,SPop", [], "TMEGNN learning_rat=1"),
    ("SPop embedding_size=8,TMEGNN", [], "embedding_size"),
    ("TMEGNN,TMEGNN", [], "TMEGNN is there twice"),
    ("TMEGNN,SPop,TMEGNN triplet_weight=0.001", [], "is there twice"),
    ("SASRec,recbole:SASRec", [], "recbole:SASRec is there twice"),
    ("ATSRec+SASRec,ATSRec backbone=SASRec", [], "ATSRec+SASRec is there twice"),
    ("TMEGNN triplet_weight", [], "no KEY=VALUE"),
    ("TMEGNN seed=3", [], "--seeds"),
    ("TMEGNN dataset=tmall", [], "--dataset"),
    ("TMEGNN,SPop retrain=True", [], "retrain"),
    ("TMEGNN MAX_ITEM_LIST_LENGTH=3,SPop", [], "MAX_ITEM_LIST_LENGTH"),
    ("TMEGNN valid_metric=Hit@5,SPop", [], "valid_metric"),
    (" , ", [], "--models"),
    ("ATSRec+SPop backbone=SASRec", [], "backbone"),
    ("SPop", ["--model=TMEGNN"], "--models"),
    ("SPop", ["--seeds=0"], "--seeds"),
    ("SPop", ["--seeds=a,b"], "--seeds"),
    ("SPop", ["--seeds=1,1"], "twice"),
    ("SPop", ["--workers=0"], "--workers"),
    ("SPop", ["--topk=[5,500]"], "topk"),
    ("SPop", ["--select_on=test", "--retrain=True"], "retrain"),
    ("SPop", ["--reference=STAN"], "--reference"),
    ("SPop", ["--dataset=nowhere"], "nowhere"),
    ("SPop", ["--config_files=none.yaml"], "none.yaml"),
    ("SPop", ["--plugin=none.py"], "none.py"),
    ("SPop", ["--tuned=none"], "--tuned"),
    ("SRGNN", ["--tuned=two"], "both of SRGNN"),
    ("SPop", ["--tuned=two"], "it has SRGNN"),
    ("SRGNN", ["--tuned=damaged"], "study.json"),
    ("STAN", ["--tuned=wrong"], "wrong/best.yaml"),
]


@pytest.mark.parametrize(("models", "arguments", "said"), REFUSED)
def test_what_cannot_be_compared_gets_one_line_before_anything_is_trained(models, arguments, said, capsys):
    for name in ("two/a/best.yaml", "two/b/best.yaml", "damaged/best.yaml"):
        write(name, {"model": "SRGNN", "dataset": "toy"})
    Path("damaged/study.json").write_text("{")
    write("wrong/best.yaml", {"model": "STAN", "dataset": "toy", "k": "many"})
    defaults = [] if any("--dataset" in argument for argument in arguments) else ["--dataset=toy"]
    assert main(["compare", f"--models={models}", *defaults, *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and said in line
    assert not Path("runs").exists()


def test_a_run_is_found_by_its_settings_seed_and_protocol():
    comparison = planned("SRGNN", "--epochs=1", "--show_progress=False", seeds="2")
    (config, other), fingerprint = comparison.rows[0].configs, comparison.protocol.fingerprint
    assert find_run(config, fingerprint) is None
    directory = run(config)
    assert find_run(config, fingerprint).path == directory.path
    assert find_run(other, fingerprint) is None and find_run(config, "another") is None
    assert find_run(load_config("SRGNN", "toy", config_dict={"epochs": 2}), fingerprint) is None
    # Where it is trained does not matter.
    elsewhere = {"epochs": 1, "threads": 1, "device": "cpu", "eval_batch_size": 7}
    assert find_run(load_config("SRGNN", "toy", config_dict=elsewhere), fingerprint).path == directory.path
    # An interrupted one comes after a finished one.
    broken = RunDirectory(directory.path.with_name(f"{directory.path.name}-2"))
    broken.path.mkdir()
    for file in (directory.config_file, directory.environment_file):
        (broken.path / file.name).write_bytes(file.read_bytes())
    assert find_run(config, fingerprint).path == directory.path
    directory.metrics_file.unlink()
    assert find_run(config, fingerprint).path == broken.path
    # One that ended before it could say what it is of does not count, nor one that was continued with other settings.
    broken.environment_file.unlink()
    assert find_run(config, fingerprint).path == directory.path
    directory.write_config(config.plain() | {"epochs": 2})
    assert find_run(config, fingerprint) is None


def test_a_dry_run_says_what_is_there_and_trains_nothing(capsys):
    directory = run(load_config("SRGNN", "toy", config_dict={"epochs": 1, "show_progress": False}))
    before = sorted(Path().rglob("*"))
    arguments = ["--models=SRGNN,STAN", "--dataset=toy", "--epochs=1", "--seeds=2", "--dry-run"]
    assert main(["compare", *arguments]) == 0
    said = capsys.readouterr().out
    lines = [line.strip() for line in said.splitlines()]
    assert directory.read_metrics()["protocol"]["fingerprint"] in said and "3 runs, 2 of them to be trained" in said
    assert f"seed 2020: use {directory.path}" in lines and "seed 2021: train" in lines
    assert lines[lines.index("STAN") + 1] == "one run, as no seed changes its result"
    assert "estimated for SRGNN: " in said and "estimated for STAN: " in said and "GB" in said
    assert "estimated for all that is to be trained" in said
    assert all(len(line) <= 80 for line in said.splitlines() if line.startswith("estimated"))
    assert sorted(Path().rglob("*")) == before


def test_two_processes_do_not_train_in_one_directory():
    from recbole_tme.utils.files import alone_in

    directory = run(load_config("SRGNN", "toy", config_dict={"epochs": 1, "show_progress": False}))
    directory.metrics_file.unlink()
    with alone_in(directory.path), pytest.raises(UserError, match="in use"):
        run(load_config(None, None, [directory.config_file]), resume=directory)
    assert run(load_config(None, None, [directory.config_file]), resume=directory).finished
