"""Every way to get a setting wrong: one line that names the key, the place it came from and the remedy."""

import pytest
import torch

from recbole_tme.config.load import load_config, parse_overrides
from recbole_tme.config.resolution import choose_device
from recbole_tme.errors import UserError


def config_from(*arguments, files=()):
    return load_config("TMEGNN", "toy", files, overrides=parse_overrides(arguments))


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


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
    ("--learning_rate=", r"learning_rate needs a value: float in \(0, 100\]"),
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
    # names of fields
    ("--USER_ID_FIELD=item_id", "USER_ID_FIELD: item_id is also ITEM_ID_FIELD.*prepare .--session"),
    ("--LIST_SUFFIX=", "LIST_SUFFIX"),
    ("--ITEM_LIST_LENGTH_FIELD=session_id", "USER_ID_FIELD: session_id is also ITEM_LIST_LENGTH_FIELD"),
    # gradients and negatives
    ("--clip_grad_norm=-5", "clip_grad_norm must be"),
    ("--clip_grad_norm=abc", "clip_grad_norm must be"),
    ("--clip_grad_norm={norm: 5}", r"clip_grad_norm: unknown key 'norm'; did you mean .*norm"),
    ("--clip_grad_norm={norm_type: 2}", "clip_grad_norm: max_norm must be"),
    ("--clip_grad_norm={max_norm: 0}", "clip_grad_norm: max_norm must be"),
    ("--train_neg_sample_args={distribution: uniform}", "model TMEGNN uses no sampled negatives"),
    ("--train_neg_sample_args=5", "train_neg_sample_args must be dict or None"),
    # RecBole's keys that change nothing here
    ("--item_inter_num_interval=[5,inf)", "item_inter_num_interval .instead: recbole-tme prepare --min-support"),
    ("--repeatable=False", "repeatable .the session's own items are ranked"),
    ("--eval_args={mode: uni100}", "eval_args .instead: valid_ratio"),
    ("--benchmark_filename=[train, test]", "benchmark_filename .instead: recbole-tme prepare FOLDER"),
    ("--save_dataset=True", "save_dataset .*data_cache.*has no effect"),
    ("--checkpoint_dir=x", "instead: run_dir"),
    ("--worker=2", "worker .batches are cut from memory"),
    ("--eval_step=0", "eval_step .each epoch ends with"),
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
        ("plugin: nothing.py\n", r"bad\.yaml:1 names the plugin .*nothing\.py, .* add --plugin="),
        ("plugin: 5.5.5\n", r"bad\.yaml:1 names the plugin .*5\.5\.5, "),
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
        ("BERT4Rec", {"transform": "crop_itemseq"}, "transform .it belongs to the model"),
    ],
)
def test_bad_setting_of_a_recbole_model(model, settings, message):
    with pytest.raises(UserError, match=message):
        load_config(model, "toy", config_dict=settings)


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
