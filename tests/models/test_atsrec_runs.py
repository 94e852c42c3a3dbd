"""ATSRec's name in every place that names a model, its runs, and RecBole's own way to train it."""

import importlib.util
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.atsrec import QUIET, history, trained
from helpers.stock_recbole import make_data, write_presplit
from recbole.trainer import Trainer

from recbole_tme.api.listing import list_keys
from recbole_tme.cli import main
from recbole_tme.config.load import load_config
from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.loader import build_loaders
from recbole_tme.errors import UserError
from recbole_tme.experiment.run import run
from recbole_tme.models import registry
from recbole_tme.models.atsrec import ATSRec
from recbole_tme.models.tmegnn import TMEGNN
from recbole_tme.report.tables import markdown, read_results
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.utils import versions

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# What it is called


def test_a_backbone_makes_one_class_that_is_both():
    model_class = registry.resolve("ATSRec+TMEGNN")
    assert model_class is ATSRec.around(TMEGNN) is load_config("ATSRec", "toy").model_class
    assert issubclass(model_class, ATSRec) and issubclass(model_class, TMEGNN) and model_class.variable_length
    assert pickle.loads(pickle.dumps(model_class)) is model_class
    assert registry.resolve("ATSRec+SRGNN") is not registry.resolve("ATSRec+recbole:SRGNN")
    for name in ("ATSRec+SASRec", "ATSRec+SRGNN", "ATSRec+recbole:SRGNN"):
        assert registry.registered_name(registry.resolve(name)) == name


def test_spellings_of_a_backbone_are_one_configuration():
    config = load_config("ATSRec", "toy", config_dict={"backbone": "SASRec", "n_layers": 1})
    assert (config.registered_name, config["backbone"], config["n_layers"]) == ("ATSRec+SASRec", "recbole:SASRec", 1)
    same = load_config("ATSRec+SASRec", "toy", config_dict={"backbone": "recbole:SASRec", "n_layers": 1})
    assert same.plain() == config.plain() and same.hash() == config.hash()
    assert load_config("ATSRec", "toy", config_dict={"backbone": "GRU4Rec"}).hash() != config.hash()
    again = pickle.loads(pickle.dumps(config))
    assert again.model_class is config.model_class and again.final_config_dict == config.final_config_dict


def test_keys_are_the_backbones_and_its_own():
    rows = {row[0]: row for row in list_keys("ATSRec", "SASRec").values.tolist()}
    config = load_config("ATSRec", "toy", config_dict={"backbone": "SASRec"})
    assert set(rows) | {"model", "dataset"} == set(config.plain())
    assert rows["n_heads"][5] == "model/SASRec.yaml" and rows["adv_epsilon"][5] == "model/ATSRec.yaml"
    assert load_config("ATSRec", "toy")["learning_rate"] == load_config("TMEGNN", "toy")["learning_rate"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backbone=SASRecc"], "backbone: unknown model 'SASRecc'; did you mean SASRec?"),
        (["--backbone=tmegnn"], "backbone: unknown model 'tmegnn'; did you mean TMEGNN?"),
        (["--backbone=ATSRec"], "ATSRec cannot be its own backbone"),
        (["--backbone=ATSRec+SASRec"], "ATSRec cannot be its own backbone"),
        (["--backbone=FDSA"], "backbone: RecBole's FDSA cannot run on session data"),
        (["--backbone=BPR"], "backbone: RecBole's BPR is not a sequential model"),
        (["--backbone"], "backbone must be a name"),
        (["--backbone=SASRec", "--n_layer=1"], "unknown key 'n_layer'; did you mean n_layers?"),
        (["--backbone=SASRec", "--n_layers=0"], "n_layers must be int in [1, 65536], not 0"),
        (["--backbone=SASRec", "--dropout_prob=0"], "unknown key 'dropout_prob'"),
        (["--backbone=CORE", "--loss_type=BPR"], "loss_type: RecBole's CORE knows no loss but CE"),
        (["--backbone=DANSeR", "--adv_attack=closed_form"], "adv_attack: closed_form needs"),
        (["--backbone=GCSAN", "--adv_attack=closed_form"], "which recbole:GCSAN does not train"),
        (["--backbone=GRU4Rec", "--loss_type=BPR", "--adv_attack=closed_form"], "adv_attack: closed_form needs"),
        (["--backbone=SRGNN", "--loss_type=sampled", "--adv_attack=closed_form"], "adv_attack: closed_form needs"),
        (["--adv_attack=pgdd"], "adv_attack must be one of pgd, fgm, fgsm, free, closed_form"),
        (["--adv_epsilon=0"], "adv_epsilon must be float in (0, inf)"),
        (["--model=ATSRec+SASRec", "--backbone=TMEGNN"], "backbone: TMEGNN is not that of ATSRec+SASRec"),
        (["--model=TMEGNN+SASRec"], "unknown model 'TMEGNN+SASRec'"),
        (["--model=TMEGNN", "--backbone=SASRec"], "unknown key 'backbone'"),
    ],
)
def test_what_cannot_be_named_or_set(arguments, message, capsys):
    # The last --model counts.
    assert main(["--model=ATSRec", *arguments, "--dataset=toy"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not Path("runs").exists()


def test_only_a_model_that_takes_a_backbone_is_listed_with_one(capsys):
    assert main(["list", "keys", "ATSRec", "--backbone=SASRec"]) == 0
    assert "n_heads" in capsys.readouterr().out
    assert main(["list", "keys", "TMEGNN", "--backbone=SASRec"]) == 2
    assert "backbone: TMEGNN takes none" in capsys.readouterr().err


PLUGIN = """
from recbole_tme.models.srgnn import SRGNN

class Mine(SRGNN):
    '''A plugin's model.'''
    defaults = {"flavour": 3}

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.flavour = config["flavour"]
"""


def test_a_plugins_model_can_be_the_backbone(tmp_path):
    (tmp_path / "mine.py").write_text(PLUGIN)
    settings = {"plugin": "mine.py", "backbone": "Mine", "flavour": 5, "adv_attack": "closed_form"}
    config = load_config("ATSRec", "toy", overrides=settings)
    assert (config.registered_name, config["flavour"], config["step"]) == ("ATSRec+Mine", 5, 1)
    assert config.plain()["plugin"] == [str(tmp_path / "mine.py")]
    assert pickle.loads(pickle.dumps(config)).model_class is config.model_class
    del sys.modules["recbole_tme_plugin_mine"]


# Runs


def test_backbones_have_their_own_run_directories_and_rows():
    assert trained("ATSRec", backbone="GRU4Rec", adv_attack="fgm").path.parent == Path("runs/toy/ATSRec+GRU4Rec")
    trained("ATSRec", backbone="recbole:SRGNN", adv_attack="fgm")
    trained("GRU4Rec")
    table = markdown(read_results([Path("runs")]))
    for model in ("ATSRec+GRU4Rec", "ATSRec+recbole:SRGNN", "recbole:GRU4Rec"):
        assert f"| {model} | 1 |" in table


class Stop(Exception):
    """Stands for whatever ends a process."""


@pytest.mark.parametrize("attack", ["pgd", "closed_form"])
def test_resume_continues_bit_for_bit(attack):
    settings = QUIET | {"backbone": "TMEGNNDP", "adv_attack": attack, "adv_steps": 2, "epochs": 3}
    whole = run(load_config("ATSRec", "toy", config_dict=settings | {"run_dir": "whole"}))

    def stop(epoch, _score):
        if epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        run(load_config("ATSRec", "toy", config_dict=settings | {"run_dir": "parts"}), on_epoch=stop)
    torch.rand(5)
    (path,) = Path("parts/toy").glob("*/*")
    assert main([f"--resume={path}"]) == 0
    parts = RunDirectory(path)
    assert parts.model_file.read_bytes() == whole.model_file.read_bytes() and history(parts) == history(whole)
    assert parts.read_metrics()["model"] == "ATSRec+TMEGNNDP"


def test_a_checkpoint_of_another_backbone_is_refused(capsys):
    first = trained("ATSRec", backbone="SRGNN", adv_attack="fgm")
    other = trained("ATSRec", backbone="TMEGNN", adv_attack="fgm")
    other.metrics_file.unlink()
    other.checkpoint_file("select").write_bytes(first.checkpoint_file("select").read_bytes())
    assert main([f"--resume={other.path}"]) == 2
    assert "is a checkpoint of ATSRec+SRGNN, not of ATSRec+TMEGNN" in capsys.readouterr().err


# Stock RecBole


def stock_trainer(folder: str, **settings):
    few = {"embedding_size": 8, "train_batch_size": 64, "device": "cpu", "epochs": 1, "adv_attack": "fgm"}
    config = load_config("ATSRec", "toy", config_dict=few | settings)
    config["checkpoint_dir"] = folder
    datasets = SessionDataset(config, make_data(0)).build()
    train, valid, test = build_loaders(config, datasets)
    # As RecBole's quick start constructs it.
    model = ATSRec(config, datasets[0])
    trainer = Trainer(config, model)
    trainer.fit(train, valid, verbose=False)
    return trainer, test


def test_stock_trainer_trains_it_and_knows_its_backbone():
    trainer, test = stock_trainer("first", backbone="GRU4Rec")
    assert type(trainer.model) is registry.resolve("ATSRec+GRU4Rec")
    assert trainer.evaluate(test)["hit@20"] > 0
    other, _ = stock_trainer("second", backbone="STAMP")
    with pytest.raises(UserError, match=r"is a checkpoint of ATSRec\+GRU4Rec, not of ATSRec\+STAMP"):
        other.resume_checkpoint(trainer.saved_model_file)


def test_stock_configuration_has_the_backbones_keys():
    from recbole.config import Config

    config = Config(model="ATSRec", dataset="toy", config_dict={"backbone": "SASRec", "n_heads": 1})
    assert config.model_class is registry.resolve("ATSRec+SASRec")
    assert (config["model"], config["n_heads"], config["hidden_size"], config["adv_attack"]) == ("ATSRec", 1, 64, "pgd")
    assert Config(model="ATSRec", dataset="toy").model_class is ATSRec.around(TMEGNN)
    with pytest.raises(UserError, match=r"backbone: unknown model 'SASREC'; did you mean SASRec\?"):
        Config(model="ATSRec", dataset="toy", config_dict={"backbone": "SASREC"})


QUICK_START = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
import recbole_tme
from recbole.quick_start import load_data_and_model, run_recbole

settings = json.loads(sys.argv.pop())
result = run_recbole(model="ATSRec", dataset="tiny", config_dict=settings)
_, model, *_ = load_data_and_model(os.path.join("saved", os.listdir("saved")[0]))
print("FOUND", json.dumps([sorted(result["test_result"]), type(model).__name__]))
"""


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="RecBole's quick_start imports Ray")
@pytest.mark.skipif(
    versions.version_tuple(versions.installed_versions()["pandas"]) >= (3,),
    reason="stock RecBole data sets do not load with pandas 3",
)
@pytest.mark.slow
def test_quick_start(tmp_path):
    write_presplit(make_data(0), tmp_path / "dataset")
    settings = {
        "USER_ID_FIELD": "session_id", "load_col": {"inter": ["session_id", "item_id_list", "item_id"]},
        "alias_of_item_id": ["item_id_list"], "benchmark_filename": ["train", "valid", "test"], "epochs": 1,
        "topk": [5], "metrics": ["Recall", "MRR"], "valid_metric": "MRR@5", "show_progress": False, "state": "ERROR",
        "gpu_id": "", "backbone": "SASRec", "hidden_size": 8,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", QUICK_START, json.dumps(settings)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.rpartition("FOUND ")[2]) == [["mrr@5", "recall@5"], "ATSRec+SASRec"]
