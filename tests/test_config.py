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

from recbole_tme import registry
from recbole_tme.config import SessionConfig, base_keys, load_config, model_keys, parse_overrides
from recbole_tme.errors import UserError
from recbole_tme.evaluation.metrics import SYNONYMS
from recbole_tme.inert_keys import WITHOUT_EFFECT
from recbole_tme.properties_root import properties_root
from recbole_tme.resolution import METRIC_SYNONYMS, choose_device
from recbole_tme.schema import keys_read_by, property_keys
from recbole_tme.yamlfile import parse_value, read_settings


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["epochs=5"], "'epochs=5' belongs to no key"),
        (["--epochs=5", "stray"], "'stray' belongs to no key"),
        (["-e", "5"], "'-e' belongs to no key"),
        (["--=5"], "belongs to no key"),
        (["--epochs=5", "--epochs=6"], "--epochs is given twice"),
        (["--epochs=5", "--epochs", "6"], "--epochs is given twice"),
    ],
)
def test_parse_overrides_refuses(arguments, message):
    with pytest.raises(UserError, match=message) as error:
        parse_overrides(arguments)
    assert str(error.value).startswith("command line: ")


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


# What is wrong with a setting

BAD_SETTINGS = [
    # unknown keys
    ("--lerning_rate=5", r"unknown key 'lerning_rate'; did you mean learning_rate\?"),
    ("--train-batch-size=5", r"did you mean train_batch_size\?"),
    ("--EPOCHS=5", r"did you mean epochs\?"),
    ("--qqqqqq=5", "unknown key 'qqqqqq'; recbole-tme list keys MODEL shows all"),
    ("--hidden_size=5", "unknown key 'hidden_size'"),
    ('--foo=__import__("os").system("true")', "unknown key 'foo'"),
    # types and ranges
    ("--learning_rate=abc", r"learning_rate must be float in \(0, 100\], not 'abc'"),
    ("--learning_rate=[0.1]", "learning_rate must be float"),
    ("--learning_rate=-1", r"learning_rate must be float in \(0, 100\], not -1"),
    ("--learning_rate=0", "learning_rate must be float"),
    ("--learning_rate=.nan", "learning_rate must be a finite number"),
    ("--learning_rate=.inf", "learning_rate must be a finite number"),
    ("--learning_rate=1e38", "learning_rate must be float"),
    ("--learning_rate", "--learning_rate needs a value: float"),
    ("--learning_rate=", "learning_rate must be float"),
    ("--learning_rate=~", "learning_rate must not be empty"),
    ("--train_batch_size=0", r"train_batch_size must be int in \[1, 1000000\], not 0"),
    ("--train_batch_size=64.5", "train_batch_size must be int"),
    ("--eval_batch_size=-4", "eval_batch_size must be int"),
    ("--epochs=0", "epochs must be int"),
    ("--epochs=True", "epochs must be int"),
    ("--epochs=[1, 2]", "epochs must be int"),
    ("--embedding_size=0", "embedding_size must be int"),
    ("--embedding_size=10000000000000", "embedding_size must be int"),
    ("--embedding_size=" + "9" * 400, "embedding_size must be int"),
    ("--learning_rate=" + "9" * 400, "learning_rate must be a finite number"),
    ("--dropout_prob=1", r"dropout_prob must be float in \[0, 1\), not 1.0"),
    ("--valid_ratio=1", "valid_ratio must be float"),
    ("--MAX_ITEM_LIST_LENGTH=0", "MAX_ITEM_LIST_LENGTH must be int"),
    ("--reproducibility=maybe", "reproducibility must be bool"),
    ("--retrain=1", "retrain must be bool"),
    ("--seed=abc", "seed must be int"),
    ("--seed=-1", "seed must be int"),
    ("--seed=99999999999", "seed must be int"),
    ("--threads=0", "threads must be int"),
    ("--run_dir=[a]", "run_dir must be str"),
    # words
    ("--learner=adm", r"learner must be one of adam, .*did you mean adam\?"),
    ("--padding=left", "padding must be one of auto, batch, max, not 'left'"),
    ("--lr_schedule=plateau", "lr_schedule must be one of none, step, cosine"),
    ("--select_on=train", "select_on must be one of valid, test"),
    ("--device=tpu", "device must be one of auto, cpu, cuda"),
    # evaluation
    ("--metrics=[Recal]", r"metrics must be one of .*did you mean Recall\?"),
    ("--metrics=[]", "metrics must not be an empty list"),
    ("--metrics=[AUC]", "metrics must be one of Hit, MRR"),
    ("--topk=ten", "topk must be list of int or int"),
    ("--topk=[1.5]", "topk must be list of int"),
    ("--topk=[0, 5]", "topk must be list of int"),
    ("--topk=[]", "topk must not be an empty list"),
    ("--topk=[[5]]", "topk must be list of int"),
    ("--topk=[5, 10", r"topk must be list of int or int in \[1, inf\), not '\[5, 10'"),
    ("--topk=5,10", "topk must be list of int"),
    ("--valid_metric=NDCG@50", r"valid_metric: NDCG@50 is not computed; .*NDCG@20"),
    ("--valid_metric=Precision@20", "valid_metric: Precision@20 is not computed"),
    ("--valid_metric=mrr", r"valid_metric: mrr is not computed; .*did you mean MRR@"),
    ("--valid_metric=5", "valid_metric: 5 is not computed"),
    # gradients and negatives
    ("--clip_grad_norm=-5", "clip_grad_norm must be"),
    ("--clip_grad_norm=abc", "clip_grad_norm must be"),
    ("--clip_grad_norm={norm: 5}", r"clip_grad_norm: unknown key 'norm'; did you mean .*norm"),
    ("--clip_grad_norm={norm_type: 2}", "clip_grad_norm: max_norm must be"),
    ("--clip_grad_norm={max_norm: 0}", "clip_grad_norm: max_norm must be"),
    ("--train_neg_sample_args={distribution: uniform}", "model TMEGNN uses no sampled negatives"),
    ("--train_neg_sample_args=5", "train_neg_sample_args must be dict or None"),
    # RecBole's keys that change nothing here
    ("--item_inter_num_interval=[5,inf)", "item_inter_num_interval has no effect on prepared sessions"),
    ("--repeatable=False", "repeatable is fixed"),
    ("--eval_args={mode: uni100}", "eval_args is fixed"),
    ("--benchmark_filename=[train, test]", "benchmark_filename has no effect on prepared sessions"),
    ("--save_dataset=True", "save_dataset has no effect"),
    ("--checkpoint_dir=x", "set run_dir"),
    ("--worker=2", "worker has no effect"),
    ("--eval_step=0", "eval_step has no effect"),
]


@pytest.mark.parametrize(("argument", "message"), BAD_SETTINGS)
def test_bad_setting_on_the_command_line(argument, message):
    with pytest.raises(UserError, match=message) as error:
        config_from(argument)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 1\nlerning_rate: 5\n", r"bad\.yaml:2: unknown key 'lerning_rate'; did you mean learning_rate"),
        ("epochs: 1\n\n# comment\nlearning_rate: fast\n", r"bad\.yaml:4: learning_rate must be float"),
        ("", r"bad\.yaml is empty"),
        ("# nothing but a comment\n", r"bad\.yaml is empty"),
        ("- epochs\n- 5\n", r"bad\.yaml must hold key: value lines, not a list"),
        ("just words\n", r"bad\.yaml must hold key: value lines, not a str"),
        ("epochs: 1\nseed: [1, 2\n", r"bad\.yaml:\d+: not valid YAML"),
        ("epochs: 1\n\tseed: 2\n", r"bad\.yaml:2: not valid YAML"),
        ("epochs: 1\nseed: 2\nepochs: 3\n", r"bad\.yaml:3: not valid YAML: key 'epochs' is given twice"),
        ("epochs: 1\n---\nepochs: 2\n", r"bad\.yaml:\d+: not valid YAML"),
        ("5: 1\n", "the key 5 is not a name"),
        ("run_dir: !!python/object/new:os.system [true]\n", r"bad\.yaml:1: not valid YAML"),
        ("topk: ten\n", r"bad\.yaml:1: topk must be list of int or int"),
        ("epochs:\n", r"bad\.yaml:1: epochs must not be empty"),
        ("model: [TMEGNN]\n", r"bad\.yaml:1: model must be a name"),
        ("dataset: true\n", r"bad\.yaml:1: dataset must be a name"),
        ("plugin: nothing.py\n", r"nothing\.py does not exist"),
        ("plugin: 5.5.5\n", "5.5.5 does not exist"),
        ("plugin: {a: 1}\n", r"bad\.yaml:1: plugin must be list of str or str or None"),
    ],
)
def test_bad_file_names_its_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as error:
        load_config(config_files=[write(tmp_path / "bad.yaml", text)])
    assert "\n" not in str(error.value)


def test_unreadable_files(tmp_path):
    with pytest.raises(UserError, match=r"missing\.yaml does not exist"):
        config_from(files=[tmp_path / "missing.yaml"])
    with pytest.raises(UserError, match="cannot read"):
        config_from(files=[tmp_path])
    (tmp_path / "latin.yaml").write_bytes("run_dir: caf\xe9\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.yaml is not UTF-8 text"):
        config_from(files=[tmp_path / "latin.yaml"])
    (tmp_path / "binary.yaml").write_bytes(b"run_dir: \x00\x01\n")
    with pytest.raises(UserError, match=r"binary\.yaml.*not valid YAML"):
        config_from(files=[tmp_path / "binary.yaml"])


def test_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfepochs: 3\r\nseed: 4\r\n")
    config = config_from(files=[tmp_path / "bom.yaml"])
    assert (config["epochs"], config["seed"]) == (3, 4)


@pytest.mark.parametrize(
    ("settings", "message"), [({"lr": 1}, "config_dict: unknown key 'lr'"), ({"topk": "x"}, "topk")]
)
def test_bad_setting_in_a_dict(settings, message):
    with pytest.raises(UserError, match=message):
        load_config("TMEGNN", "toy", config_dict=settings)


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("GRU4Rec", {"loss_type": "BPR", "train_neg_sample_args": None}, "loss_type: BPR needs negatives"),
        ("GRU4Rec", {"loss_type": "bpr2"}, "loss_type: bpr2 is no loss"),
        ("GRU4Rec", {"train_neg_sample_args": {"distribution": "uniform"}}, "loss_type: CE uses no sampled negatives"),
        ("GRU4RecCPR", {"loss_type": "BPR"}, "GRU4RecCPR knows no loss but CE"),
        ("SINE", {"train_neg_sample_args": None}, "model SINE needs negatives"),
        ("SINE", {"train_neg_sample_args": {"distribtion": "uniform"}}, r"did you mean distribution\?"),
        ("SINE", {"train_neg_sample_args": {"distribution": "zipf"}}, "must be uniform or popularity"),
        ("SINE", {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 0}}, "sample_num must be"),
        ("GRU4Rec", {"hidden_size": 0}, r"hidden_size must be int in \[1, 65536\]"),
        ("GRU4Rec", {"dropout_prob": 1.5}, "dropout_prob must be float"),
        ("GRU4Rec", {"num_layers": "two"}, "num_layers must be int"),
        ("NARM", {"dropout_probs": 0.5}, "dropout_probs must be list of float"),
        ("BERT4Rec", {"transform": "crop_itemseq"}, "transform belongs to the model"),
    ],
)
def test_bad_setting_of_a_recbole_model(model, settings, message):
    with pytest.raises(UserError, match=message):
        load_config(model, "toy", config_dict=settings)


def test_setting_an_inert_key_to_its_default_is_harmless():
    config = config_from(repeatable=True, worker=0, checkpoint_dir="saved")
    assert not set(config.plain()) & set(WITHOUT_EFFECT)


# Derived values


@pytest.mark.parametrize(
    ("model", "settings", "distribution"),
    [
        ("TMEGNN", {}, "none"),
        ("SRGNN", {}, "none"),
        ("SRGNN", {"train_neg_sample_args": None}, "none"),
        ("SRGNN", {"train_neg_sample_args": {"distribution": "none"}}, "none"),
        ("SRGNN", {"loss_type": "BPR"}, "uniform"),
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


@pytest.mark.parametrize(
    ("gpus", "device", "gpu_id", "use_gpu", "message"),
    [
        (0, "cuda", None, True, "device: cuda asks for a GPU that does not exist .*torch sees no GPU"),
        (0, "auto", "7", True, "gpu_id: 7 asks for a GPU that does not exist"),
        (2, "auto", "2", True, "torch sees 2"),
        (2, "cuda", None, False, "device: cuda asks for a GPU and use_gpu: False for the CPU"),
        (2, "cpu", "0", True, "gpu_id: 0 asks for a GPU and device: cpu for the CPU"),
        (2, "auto", "0,1", True, "not the number of one GPU"),
        (2, "auto", "first", True, "not the number of one GPU"),
    ],
)
def test_device_that_cannot_be(monkeypatch, gpus, device, gpu_id, use_gpu, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(UserError, match=message):
        choose_device(device, gpu_id, use_gpu)


def test_missing_gpu_is_an_error_from_the_command_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="gpu_id: 7"):
        config_from("--gpu_id=7")


# The property files


def our_files() -> list[Path]:
    return [properties_root() / "overall.yaml", *sorted((properties_root() / "model").glob("*.yaml"))]


@pytest.mark.parametrize("path", our_files(), ids=lambda path: path.name)
def test_our_property_files_are_complete_and_their_defaults_pass(path):
    for key in property_keys(path).values():
        assert key.types and key.help and key.help[0].isupper() and key.help.endswith("."), key
        key.check(key.default, path.name)


def test_recboles_property_files_are_understood():
    for path in sorted((registry.recbole_root() / "properties" / "model").glob("*.yaml")):
        for key in property_keys(path, strict=False).values():
            checked = key.check(key.default, path.name)
            assert checked == key.default and type(checked) is type(key.default), key


def test_inert_keys_are_recboles():
    recbole = registry.recbole_root() / "properties"
    declared = {**property_keys(recbole / "overall.yaml", strict=False)}
    declared |= property_keys(recbole / "dataset" / "sample.yaml", strict=False)
    assert set(WITHOUT_EFFECT) <= set(declared)
    assert not set(WITHOUT_EFFECT) & set(property_keys(properties_root() / "overall.yaml"))


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
    read = keys_read_by(config.model_class, config, TinyDataset())
    own = set(model_keys(config.model_class))
    # A model's file may also give its own default to a key that every model has.
    shared = set(base_keys()) | {"device"}
    assert own - read <= shared, "declared but never read"
    assert read - own <= shared, "read but declared nowhere"
