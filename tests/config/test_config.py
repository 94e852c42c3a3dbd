"""Configuration: precedence, round trips, and every way to get a setting wrong."""

import os
import pickle
import sys
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recbole_tme.config.construct import ModelSettings
from recbole_tme.config.declared import base_keys, model_keys
from recbole_tme.config.ignored_keys import REPLACED
from recbole_tme.config.load import SessionConfig, load_config, parse_overrides
from recbole_tme.config.resolution import METRIC_SYNONYMS, choose_device
from recbole_tme.errors import UserError
from recbole_tme.evaluation.metrics import SYNONYMS
from recbole_tme.models import registry
from recbole_tme.models.builtin import discovery
from recbole_tme.schema.keys import property_keys
from recbole_tme.schema.property_files import properties_root
from recbole_tme.schema.yamlfile import parse_value, read_settings


def config_from(*arguments: str, files=(), **settings) -> SessionConfig:
    return load_config("TMEGNN", "toy", files, settings, parse_overrides(arguments))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def data_set_length(name: str) -> int:
    return read_settings(properties_root() / "dataset" / f"{name}.yaml").values["MAX_ITEM_LIST_LENGTH"]


# Precedence and defaults


def test_defaults_come_from_the_property_files():
    config = load_config()
    assert (config["model"], config["dataset"]) == ("TMEGNN", "ml100k-sessions")
    assert config.model_class is registry.resolve("TMEGNN")
    assert config["embedding_size"] == 100  # the model's file
    assert config["train_batch_size"] == 512  # ours
    assert config["LIST_SUFFIX"] == "_list"  # RecBole's
    assert config["MAX_ITEM_LIST_LENGTH"] == data_set_length("ml100k-sessions")  # the data set's
    assert config["repeatable"] is True and config["eval_args"]["order"] == "TO"  # RecBole's for sequences
    assert config["no_such_key"] is None


def test_later_places_win(tmp_path):
    first = write(tmp_path / "first.yaml", "epochs: 2\nlearning_rate: 0.1\nseed: 1\nlr_step: 7\n")
    second = write(tmp_path / "second.yaml", "learning_rate: 0.2\nseed: 2\nlr_step: 8\n")
    config = config_from("--lr_step=10", files=[first, second], seed=3, lr_step=9)
    assert [config[key] for key in ("epochs", "learning_rate", "seed", "lr_step")] == [2, 0.2, 3, 10]


def test_data_set_beats_model_and_user_beats_both(tmp_path):
    assert load_config("TMEGNN", "toy")["MAX_ITEM_LIST_LENGTH"] == 5
    assert load_config("TMEGNN", "my-own")["MAX_ITEM_LIST_LENGTH"] == 50
    assert config_from(MAX_ITEM_LIST_LENGTH=7)["MAX_ITEM_LIST_LENGTH"] == 7


def test_names_are_taken_from_the_settings_where_none_are_given(tmp_path):
    file = write(tmp_path / "run.yaml", "model: recbole:STAMP\ndataset: toy\n")
    config = load_config(config_files=[file])
    assert (config["model"], config.registered_name, config["dataset"]) == ("STAMP", "recbole:STAMP", "toy")
    assert load_config("NARM", config_files=[file])["model"] == "NARM"
    assert load_config(config_files=[file], overrides=parse_overrides(["--dataset=007"]))["dataset"] == "007"


def test_data_path_is_the_absolute_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config("TMEGNN", "toy", config_dict={"data_path": "my"})["data_path"] == str(tmp_path / "my")
    assert load_config("TMEGNN", "ml-100k")["data_path"] == str(tmp_path / "dataset_atomic")


def test_environment_and_yaml_are_left_alone(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    monkeypatch.setattr(sys, "argv", ["program", "--learning_rate=7", "--epochs=__import__('os').getpid()"])
    resolvers = {k: list(v) for k, v in yaml.FullLoader.yaml_implicit_resolvers.items()}
    parameters = load_config("TMEGNN", "toy").parameters
    assert load_config("TMEGNN", "toy")["learning_rate"] < 1
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,1"
    assert {k: list(v) for k, v in yaml.FullLoader.yaml_implicit_resolvers.items()} == resolvers
    assert load_config("TMEGNN", "toy").parameters == parameters


def test_nothing_is_evaluated(tmp_path):
    target = tmp_path / "made"
    text = f'__import__("pathlib").Path({str(target)!r}).touch()'
    assert parse_overrides([f"--run_dir={text}"])["run_dir"] == text
    file = write(tmp_path / "evil.yaml", f"run_dir: !!python/object/apply:os.mkdir ['{target}']\n")
    with pytest.raises(UserError, match=r"evil\.yaml:1: not valid YAML"):
        config_from(files=[file])
    assert not target.exists()


# Round trips


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("TMEGNN", {}),
        ("TMEGNN", {"clip_grad_norm": 5, "topk": 20, "metrics": "Recall", "valid_metric": "recall@20", "threads": 1}),
        ("GRU4Rec", {"loss_type": "BPR"}),
        ("SINE", {"train_neg_sample_args": {"distribution": "popularity", "alpha": 0.5}}),
        ("BERT4Rec", {}),
        ("ATSRec", {"backbone": "SRGNN", "step": 2}),
        ("ATSRec+recbole:SRGNN", {"adv_attack": "fgm"}),
        ("SASRecCPR", {"reranker_CAN_NUM": 20}),
        ("FEARec", {"contrast": "us_x"}),
    ],
)
def test_plain_settings_give_the_same_configuration(tmp_path, monkeypatch, model, settings):
    config = load_config(model, "toy", config_dict=settings)
    file = write(tmp_path / "config.yaml", yaml.safe_dump(config.plain()))
    monkeypatch.chdir(tmp_path)
    again = load_config(config_files=[file])
    assert again.plain() == config.plain()
    assert again.hash() == config.hash()
    assert again.final_config_dict == config.final_config_dict
    assert again.model_class is config.model_class


def test_pickling_keeps_everything():
    config = config_from("--epochs=3")
    again = pickle.loads(pickle.dumps(config))
    assert again.final_config_dict == config.final_config_dict
    assert again.plain() == config.plain()
    assert again.model_class is config.model_class
    assert str(again) == str(config)


def test_plain_settings_are_a_copy():
    config = config_from()
    config.plain()["topk"].append(1)
    config["data_path"] = "/elsewhere"
    assert config.plain()["topk"] == [5, 10, 20]
    assert config.plain()["data_path"] != "/elsewhere"


def test_hash_counts_what_changes_results():
    base = config_from().hash()
    assert len(base) == 8 and int(base, 16) >= 0
    for same in ("run_dir=x", "data_path=x", "show_progress=False", "device=cpu", "threads=2", "eval_batch_size=7"):
        assert config_from(f"--{same}").hash() == base
    for other in (
        "seed=1",
        "learning_rate=0.0123",
        "padding=max",
        "dropout_prob=0",
        "select_on=test",
        "valid_ratio=0.2",
    ):
        assert config_from(f"--{other}").hash() != base
    assert load_config("SRGNN", "toy").hash() != load_config("STAMP", "toy").hash()
    assert config_from("--seed=1").hash(ignore=("seed",)) == config_from().hash(ignore=("seed",))


def test_hash_does_not_depend_on_how_a_number_is_written():
    assert config_from("--learning_rate=1e-2").hash() == config_from(learning_rate=0.01).hash()
    assert config_from("--epochs=1e1").hash() == config_from(epochs=10).hash()


# The command line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--epochs=5"], {"epochs": 5}),
        (["--epochs", "5"], {"epochs": 5}),
        (["--learning_rate=1e-3"], {"learning_rate": 0.001}),
        (["--learning_rate", "5E-4"], {"learning_rate": 0.0005}),
        (["--weight_decay=0"], {"weight_decay": 0}),
        (["--x=-1"], {"x": -1}),
        (["--x", "-1"], {"x": -1}),
        (["--topk=[5, 10]"], {"topk": [5, 10]}),
        (["--clip_grad_norm={max_norm: 5, norm_type: 2}"], {"clip_grad_norm": {"max_norm": 5, "norm_type": 2}}),
        (["--run_dir=a=b=c"], {"run_dir": "a=b=c"}),
        (["--run_dir="], {"run_dir": ""}),
        (["--threads=None"], {"threads": None}),
        (["--threads=~"], {"threads": None}),
        (["--retrain"], {"retrain": True}),
        (["--retrain", "--epochs=2"], {"retrain": True, "epochs": 2}),
        (["--retrain=no"], {"retrain": False}),
        (["--shuffle", "False"], {"shuffle": False}),
        (["--epochs=5", "--epochs=5"], {"epochs": 5}),
        (["--run_dir=2026-11-21"], {"run_dir": "2026-11-21"}),
        (["--topk=[5, 10"], {"topk": "[5, 10"}),
        (["--run_dir=!!python/name:os.system"], {"run_dir": "!!python/name:os.system"}),
        (["--x={a: 1, a: 2}"], {"x": "{a: 1, a: 2}"}),
        (["--run_dir=\x1b"], {"run_dir": "\x1b"}),
        ([], {}),
    ],
)
def test_parse_overrides(arguments, expected):
    assert parse_overrides(arguments) == expected


@given(st.one_of(st.integers(), st.booleans(), st.floats(allow_nan=False), st.lists(st.integers(0, 99), max_size=4)))
def test_values_are_read_as_yaml_writes_them(value):
    assert parse_value(yaml.safe_dump(value, default_flow_style=True).removesuffix("\n...\n").strip()) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_is_a_float(value):
    assert parse_value(repr(value)) == value
    assert isinstance(parse_value(f"{value:.3e}"), float)


@given(st.text(max_size=30))
def test_any_text_is_a_value(text):
    value = parse_value(text)
    assert value is None or isinstance(value, (str, bool, int, float, list, dict))


def test_setting_an_inert_key_to_its_default_is_harmless():
    config = config_from(repeatable=True, worker=0, checkpoint_dir="saved")
    assert not set(config.plain()) & set(REPLACED)


# Derived values


@pytest.mark.parametrize(
    ("model", "settings", "distribution"),
    [
        ("TMEGNN", {}, "none"),
        ("recbole:SRGNN", {}, "none"),
        ("recbole:SRGNN", {"train_neg_sample_args": None}, "none"),
        ("recbole:SRGNN", {"train_neg_sample_args": {"distribution": "none"}}, "none"),
        ("recbole:SRGNN", {"loss_type": "BPR"}, "uniform"),
        ("SINE", {}, "uniform"),
        ("SINE", {"train_neg_sample_args": {"distribution": "popularity"}}, "popularity"),
        ("RepeatNet", {}, "none"),
    ],
)
def test_negatives_follow_the_loss(model, settings, distribution):
    assert load_config(model, "toy", config_dict=settings)["train_neg_sample_args"]["distribution"] == distribution


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), (5, {"max_norm": 5.0}), ({"max_norm": 2, "norm_type": 1}, {"max_norm": 2, "norm_type": 1})],
)
def test_gradient_clipping_in_recboles_form(value, expected):
    assert config_from(clip_grad_norm=value)["clip_grad_norm"] == expected


def test_metric_names_are_one_per_number():
    config = config_from("--metrics=[recall, P, mrr]", "--valid_metric=Recall@10", "--topk=[20, 10, 20]")
    assert config["metrics"] == ["Hit", "MRR"]
    assert config["valid_metric"] == "Hit@10"
    assert config["topk"] == [10, 20]
    assert {k.lower(): v.lower() for k, v in METRIC_SYNONYMS.items()} == SYNONYMS


def test_words_are_matched_without_regard_to_case():
    assert config_from("--learner=AdamW", "--padding=MAX")["learner"] == "adamw"


GPUS = [
    (0, "auto", None, True, "cpu"),
    (0, "cpu", None, True, "cpu"),
    (0, "auto", "", True, "cpu"),
    (0, "auto", None, False, "cpu"),
    (2, "auto", None, True, "cuda:0"),
    (2, "cuda", None, True, "cuda:0"),
    (2, "auto", "1", True, "cuda:1"),
    (2, "cpu", None, True, "cpu"),
    (2, "auto", "", True, "cpu"),
    (2, "auto", None, False, "cpu"),
]


@pytest.mark.parametrize(("gpus", "device", "gpu_id", "use_gpu", "expected"), GPUS)
def test_device(monkeypatch, gpus, device, gpu_id, use_gpu, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert choose_device(device, gpu_id, use_gpu) == torch.device(expected)


# The property files


def our_files() -> list[Path]:
    return [properties_root() / "overall.yaml", *sorted((properties_root() / "model").glob("*.yaml"))]


@pytest.mark.parametrize("path", our_files(), ids=lambda path: path.name)
def test_our_property_files_are_complete_and_their_defaults_pass(path):
    for key in property_keys(path).values():
        assert key.types and key.help and key.help[0].isupper() and key.help.endswith("."), key
        key.check(key.default, path.name)


def test_recboles_property_files_are_understood():
    for path in sorted((discovery.root() / "properties" / "model").glob("*.yaml")):
        for key in property_keys(path, strict=False).values():
            checked = key.check(key.default, path.name)
            assert checked == key.default and type(checked) is type(key.default), key


def test_inert_keys_are_recboles():
    recbole = discovery.root() / "properties"
    declared = {**property_keys(recbole / "overall.yaml", strict=False)}
    declared |= property_keys(recbole / "dataset" / "sample.yaml", strict=False)
    assert set(REPLACED) <= set(declared)
    assert not set(REPLACED) & set(property_keys(properties_root() / "overall.yaml"))


def test_key_without_a_comment_is_refused_in_our_files(tmp_path):
    with pytest.raises(UserError, match=r"x\.yaml:2: size needs a comment"):
        property_keys(write(tmp_path / "x.yaml", "# head\nsize: 5\n"))


class TinyDataset:
    """As much of a data set as a model's constructor asks for."""

    def num(self, field):
        return 40


@pytest.mark.parametrize("model", sorted(registry.OUR_MODELS))
def test_a_model_reads_the_keys_of_its_file_and_no_others(model):
    config = load_config(model, "toy")
    settings = ModelSettings(config)
    registry.resolve(model)(settings, TinyDataset())
    read = settings.read
    own = set(model_keys(config.model_class))
    # A model's file may also give its own default to a key that every model has.
    shared = set(base_keys()) | {"device"}
    # Read where item_content or item_vectors is set.
    of_content = {"content_size", "content_dropout"}
    assert own - read <= shared | of_content, "declared but never read"
    assert read - own <= shared, "read but declared nowhere"
