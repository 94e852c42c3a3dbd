"""A RecBole user's yaml: what applies is written as ours, everything else is listed with what replaces it."""

import shlex
from pathlib import Path

import pytest
import yaml

from recbole_tme.cli import main
from recbole_tme.config.convert import convert
from recbole_tme.config.ignored_keys import REPLACED
from recbole_tme.config.load import load_config
from recbole_tme.errors import UserError
from recbole_tme.models.builtin import discovery
from recbole_tme.runs.directory import finished_runs

CASES = Path(__file__).parents[1] / "fixtures" / "cases"

# As RecBole's documentation has it for session data.
SESSIONS = """
USER_ID_FIELD: session_id
load_col:
    inter: [session_id, item_id_list, item_id]
alias_of_item_id: [item_id_list]
benchmark_filename: [train, test]
epochs: 5
train_batch_size: 4096
valid_metric: MRR@10
topk: [10, 20]
eval_args:
    split: {'LS': 'valid_only'}
    mode: full
    order: TO
train_neg_sample_args: ~
checkpoint_dir: here
embeding_size: 64
"""


@pytest.fixture
def write(tmp_path):
    def to_file(text, name="user.yaml"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return to_file


def test_what_applies_is_ours_and_the_rest_is_listed(write, tmp_path):
    found = convert(write(SESSIONS), "SRGNN", "tmall")
    settings = yaml.safe_load(found.text)
    # Ours of that name is another model.
    assert settings["model"] == "recbole:SRGNN" and settings["dataset"] == "tmall"
    assert (settings["epochs"], settings["run_dir"], settings["topk"]) == (5, "here", [10, 20])
    # RecBole's defaults, which the yaml relied on.
    assert (settings["weight_decay"], settings["stopping_step"], settings["lr_schedule"]) == (0.0, 10, "none")
    assert "Recall" in settings["metrics"] and "Precision" in settings["metrics"]
    assert set(found.left_out) == {
        "USER_ID_FIELD", "load_col", "alias_of_item_id", "benchmark_filename", "eval_args", "checkpoint_dir",
        "embeding_size",
    }  # fmt: skip
    assert "did you mean embedding_size?" in found.left_out["embeding_size"]
    assert found.prepare == "recbole-tme prepare dataset/tmall --name tmall"
    config = load_config(None, None, [write(found.text, "ours.yaml")])
    assert config["train_batch_size"] == 4096 and config["weight_decay"] == 0


def test_every_key_is_listed_at_once_by_run_and_by_convert(write):
    defaults = {**_recbole("overall"), **_recbole("dataset/sample")}
    values = {key: "x" if isinstance(defaults.get(key), str) else ["x"] for key in REPLACED if key != "repeatable"}
    values |= {"benchmark_filename": ["train"], "eval_args": {"mode": "full"}, "val_interval": {"a": "[1,2]"}}
    values |= {"load_col": {"inter": ["user_id"]}, "checkpoint_dir": "here"}
    path = write(yaml.safe_dump({**values, "nonsense_a": 1, "nonsense_b": 2}))
    found = convert(path, "GRU4Rec", "x")
    assert set(values) | {"nonsense_a", "nonsense_b"} == set(found.left_out)
    with pytest.raises(UserError) as caught:
        load_config("GRU4Rec", "toy", [path])
    lines = path.read_text().splitlines()
    for key in [*values, "nonsense_a", "nonsense_b"]:
        number = next(k for k, line in enumerate(lines, start=1) if line.startswith(f"{key}:"))
        assert f"user.yaml:{number}: " in str(caught.value) and key in str(caught.value)
    assert "\n" not in str(caught.value) and "recbole-tme convert" in str(caught.value)


def _recbole(name):
    return yaml.safe_load((discovery.root() / "properties" / f"{name}.yaml").read_text())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("eval_args: {mode: uni100}", "mode uni100"),
        ("eval_args: {mode: {valid: uni100, test: full}, split: ~}", "mode uni100"),
        ("eval_args: {split: {RS: [0.8, 0.1, 0.1]}, order: RO, mode: full}", "order RO"),
        ("eval_args: {split: {LS: valid_and_test}, order: TO, mode: full}", "split"),
        ("benchmark_filename: [train]\neval_args: {mode: pop100}", "2: eval_args (mode pop100)"),
        ("repeatable: False", "1: repeatable: False means another protocol"),
        ("epochs: many", "user.yaml:1: epochs must be int"),
        ("valid_metric: MRR@7", "MRR@7"),
        ("", "is empty"),
        ("[1]", "must hold key: value"),
    ],
)
def test_refused(write, text, words):
    with pytest.raises(UserError) as caught:
        convert(write(text), "GRU4Rec", "x")
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({}, "names no model; add --model"),
        ({"model": "GRU4Rec"}, "no dataset"),
        ({"model": "GRU4Rek", "dataset": "x"}, "did you mean"),
    ],
)
def test_what_is_not_named(write, named, words):
    with pytest.raises(UserError, match=words):
        convert(write("epochs: 1"), **named)


def test_a_log_is_prepared_as_the_yaml_filters_it(write):
    text = (
        "TIME_FIELD: ts\nload_col: {inter: [user_id, item_id, ts]}\nuser_inter_num_interval: '[5,inf)'\n"
        "item_inter_num_interval: '(4,inf)'\nval_interval: {price: '[3,inf)', ts: '(9,20]'}\nfield_separator: ';'\n"
    )
    assert shlex.split(convert(write(text), "SASRec", "a b").prepare)[2:] == [
        "dataset/a b/a b.inter", "--name", "a b", "--session", "user_id", "--item", "item_id", "--time", "ts",
        "--delimiter", ";", "--min-support", "5", "--min-length", "5", "--where", "price >= 3 and ts > 9 and ts <= 20",
    ]  # fmt: skip
    plain = convert(write("epochs: 1"), "SASRec", "d").prepare
    assert plain.endswith("--time timestamp --min-support 1 --min-length 2")
    assert convert(write("dataset: ml-100k\nmodel: SASRec"), None).left_out["dataset"].startswith("ml100k-sessions")


def test_from_their_files_to_a_run_by_the_commands_that_it_prints(write, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "hdr").symlink_to(CASES / "hdr")
    text = "USER_ID_FIELD: user_id\nbenchmark_filename: [train, test]\nload_col: {inter: [user_id, item_id, timestamp]}"
    write(text + "\nepochs: 1\nembedding_size: 8\nhidden_size: 8\ndevice: cpu\nshow_progress: False\n")
    argv = ["convert", "user.yaml", "--model=GRU4Rec", "--dataset=hdr", "--out=ours.yaml"]
    assert main(argv) == 0
    said = capsys.readouterr()
    assert "left out: load_col (instead: recbole-tme prepare" in said.err
    first, then = said.out.splitlines()
    assert main(shlex.split(first.partition("first run ")[2])[1:]) == 0
    assert main(shlex.split(then.partition("then: ")[2])[1:]) == 0
    (run,) = finished_runs([tmp_path / "runs"])
    assert run.read_config()["model"] == "recbole:GRU4Rec" and run.read_config()["stopping_step"] == 10
    assert main(argv) == 2 and "exists already" in capsys.readouterr().err
