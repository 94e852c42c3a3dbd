"""RecBole's own commands run our models: by name, at its own precedence, with checkpoints that can be trusted."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.stock_recbole import make_data, write_presplit

from recbole_tme.config.load import load_config
from recbole_tme.config.resolution import OF_LISTS
from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.loader import build_loaders
from recbole_tme.errors import UserError
from recbole_tme.models import registry
from recbole_tme.models.tmegnn import TMEGNN
from recbole_tme.recbole_patches.stock import config_from_plain, config_to_plain
from recbole_tme.runs.checkpoint import load_checkpoint
from recbole_tme.schema.property_files import properties_root
from recbole_tme.utils import versions

ROOT = Path(__file__).parents[2]
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="RecBole's quick_start imports Ray, which is not installed"
)
needs_pandas_2 = pytest.mark.skipif(
    versions.version_tuple(versions.installed_versions()["pandas"]) >= (3,),
    reason="stock RecBole data sets do not load with pandas 3",
)

SETTINGS = {
    "USER_ID_FIELD": "session_id",
    "load_col": {"inter": ["session_id", "item_id_list", "item_id"]},
    "alias_of_item_id": ["item_id_list"],
    "benchmark_filename": ["train", "valid", "test"],
    "epochs": 1,
    "topk": [5],
    "metrics": ["Recall", "MRR"],
    "valid_metric": "MRR@5",
    "embedding_size": 8,
    "show_progress": False,
    "state": "ERROR",
    "gpu_id": "",
}


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # RecBole's Config sets it.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def stock_config(model, dataset="toy", **settings):
    from recbole.config import Config

    return Config(model=model, dataset=dataset, config_dict=settings)


def test_property_files_at_recboles_precedence(tmp_path):
    config = stock_config("TMEGNN")
    assert config.model_class is TMEGNN
    assert config["embedding_size"] == 100  # our model file
    assert config["train_neg_sample_args"]["distribution"] == "none"  # beats RecBole's overall.yaml
    assert config["train_batch_size"] == 2048  # RecBole's: our overall.yaml is for our own commands
    assert config["USER_ID_FIELD"] == "session_id"  # our data set's file, beats RecBole's sample.yaml
    assert config["repeatable"] is True  # RecBole's sequential.yaml
    assert stock_config("TMEGNN", embedding_size=7)["embedding_size"] == 7
    assert stock_config(TMEGNN)["n_layers"] == 1


def test_recboles_own_models_and_data_sets_are_untouched():
    config = stock_config("GRU4Rec", "ml-100k", train_neg_sample_args=None)
    assert (config["hidden_size"], config["MAX_ITEM_LIST_LENGTH"], config["USER_ID_FIELD"]) == (128, 50, "user_id")
    assert "dropout_prob" in config and "triplet_weight" not in config
    assert stock_config("BPR", "ml-100k")["embedding_size"] == 64


def test_our_data_set_file_does_not_override_recboles(tmp_path, monkeypatch):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "ml-100k.yaml").write_text("threshold: 3\n")
    (tmp_path / "dataset" / "mine.yaml").write_text("RATING_FIELD: stars\n")
    monkeypatch.setattr("recbole_tme.recbole_patches.stock.properties_root", lambda: tmp_path)
    assert stock_config("BPR", "ml-100k")["threshold"] is None
    assert stock_config("BPR", "mine")["RATING_FIELD"] == "stars"


def test_configuration_survives_a_checkpoint(tmp_path):
    config = stock_config("TMEGNN", topk=[3, 5], data_path="here")
    again = config_from_plain(json.loads(json.dumps(config_to_plain(config))))
    differing = {key for key in config.final_config_dict if config[key] != again[key]}
    assert differing <= {"data_path"}
    assert again["data_path"] == str(tmp_path / "here" / "toy")
    assert (again.model, again.dataset, again.model_class) == ("TMEGNN", "toy", TMEGNN)
    assert "topk" in str(again)


def test_what_is_no_plain_data_is_left_out_with_a_warning(caplog):
    config = stock_config("TMEGNN")
    config["my_object"] = object()
    assert "my_object" not in config_to_plain(config)
    assert "my_object is a object" in caplog.text


# RecBole's Trainer, on session loaders: needs neither Ray nor pandas 2


@pytest.fixture
def trained(tmp_path):
    """A stock trainer after one epoch, with its test loader."""
    return train_stock(make_data(0), folder="first")


def train_stock(data, model="GRU4Rec", folder="second", **settings):
    from recbole.trainer import Trainer

    few = {"embedding_size": 8, "train_batch_size": 32, "device": "cpu", "epochs": 1} | settings
    config = load_config(model, "toy", config_dict=few)
    # RecBole names a checkpoint by model and second.
    config["checkpoint_dir"] = folder
    datasets = SessionDataset(config, data).build()
    train, valid, test = build_loaders(config, datasets)
    torch.manual_seed(0)
    trainer = Trainer(config, config.model_class(config, datasets[0]))
    trainer.fit(train, valid, verbose=False)
    return trainer, test


def test_stock_trainer_evaluates_its_best_model(trained):
    trainer, test = trained
    best = trainer.evaluate(test)
    checkpoint = load_checkpoint(trainer.saved_model_file)
    assert checkpoint["items"] == ["[PAD]", *(f"i{i}" for i in range(1, 31))]
    assert checkpoint["config"]["learning_rate"] == 0.001
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.zero_()
    assert trainer.evaluate(test) == best
    assert set(best) == {f"{metric}@{k}" for metric in ("hit", "mrr", "ndcg") for k in (5, 10, 20)}


def test_stock_trainer_resumes(trained):
    trainer, _ = trained
    other, test = train_stock(make_data(0), epochs=2)
    other.resume_checkpoint(trainer.saved_model_file)
    assert other.start_epoch == 1
    for ours, theirs in zip(other.model.parameters(), trainer.model.parameters()):
        assert torch.equal(ours, theirs)
    other.evaluate(test, load_best_model=False)


def test_stock_trainer_refuses_another_catalogue(trained):
    trainer, _ = trained
    renamed = make_data(0)
    renamed.tokens[[1, 2]] = renamed.tokens[[2, 1]]
    other, test = train_stock(renamed)
    with pytest.raises(UserError, match=r"2 of its 30 items have another number"):
        other.evaluate(test, model_file=trainer.saved_model_file)
    other.resume_checkpoint(trainer.saved_model_file)
    with pytest.raises(UserError, match="belongs to another catalogue"):
        other.evaluate(test, load_best_model=False)


def test_stock_trainer_refuses_another_model(trained):
    trainer, _ = trained
    other, test = train_stock(make_data(0), model="STAMP")
    for load in (other.resume_checkpoint, lambda path: other.evaluate(test, model_file=path)):
        with pytest.raises(UserError, match="is a checkpoint of GRU4Rec, not of STAMP"):
            load(trainer.saved_model_file)


def test_stock_trainer_refuses_another_size_or_learner(trained):
    trainer, _ = trained
    wider, _ = train_stock(make_data(0), embedding_size=9)
    with pytest.raises(UserError, match=r"does not fit the model \(size mismatch for item_embedding"):
        wider.resume_checkpoint(trainer.saved_model_file)
    other, _ = train_stock(make_data(0), learner="sgd")
    with pytest.raises(UserError, match="trained with another learner"):
        other.resume_checkpoint(trainer.saved_model_file)


PLUGIN = """
import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType

class Counting(SequentialRecommender):
    input_type = InputType.POINTWISE
    other_parameter_name = ["counts", "steps"]
    defaults = {"embedding_size": 8}

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.bias = torch.nn.Parameter(torch.zeros(self.n_items))
        self.counts = torch.zeros(self.n_items).numpy()
        self.steps = 0

    def calculate_loss(self, interaction):
        self.steps += 1
        self.counts[interaction[self.ITEM_ID].numpy()] += 1
        return -self.bias[interaction[self.ITEM_ID]].mean()

    def full_sort_predict(self, interaction):
        return (self.bias + torch.from_numpy(self.counts)).repeat(len(interaction), 1)
"""


def test_parameters_outside_the_state_are_kept(tmp_path):
    (tmp_path / "counting.py").write_text(PLUGIN)
    registry.load_plugin(tmp_path / "counting.py")
    trainer, test = train_stock(make_data(0), model="Counting")
    best, counts, steps = trainer.evaluate(test), trainer.model.counts.copy(), trainer.model.steps
    assert steps > 0 and counts.sum() > 0
    trainer.model.counts[:] = 0
    trainer.model.steps = 0
    assert trainer.evaluate(test) == best
    assert (trainer.model.counts == counts).all() and trainer.model.steps == steps


# RecBole's quick start, in a process of its own

QUICK_START = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
import recbole_tme
import numpy as np
import torch
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.utils.case_study import full_sort_topk

def outcome(action):
    try:
        return action()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

settings = json.loads(sys.argv.pop())
found = {"anomaly": torch.is_anomaly_enabled()}
result = run_recbole(model="TMEGNN", dataset="tiny", config_dict=dict(settings))
found["test"] = result["test_result"]
path = os.path.abspath(os.path.join("saved", os.listdir("saved")[0]))
home = os.getcwd()
os.makedirs("elsewhere")
os.chdir("elsewhere")
config, model, dataset, train, valid, test = load_data_and_model(path)
found["class"] = f"{type(model).__module__}.{type(model).__qualname__}"
found["config"] = [config["embedding_size"], config["data_path"] == os.path.join(home, "dataset", "tiny")]
users = [int(dataset.token2id("session_id", "test0"))]
scores, items = full_sort_topk(np.array(users), model, test, 3)
found["topk"] = list(items.shape)
os.chdir(home)
stock = run_recbole(model="SRGNN", dataset="tiny", config_dict=settings | {"train_neg_sample_args": None})
found["SRGNN"] = stock["test_result"]
from recbole.utils import get_model
found["SRGNN class"] = get_model("SRGNN").__module__

# The same sessions with the training rows in another order: the items get other numbers.
lines = open("dataset/tiny/tiny.train.inter").read().splitlines()
open("dataset/tiny/tiny.train.inter", "w").write("\\n".join([lines[0], *lines[:0:-1]]) + "\\n")
found["reordered"] = outcome(lambda: load_data_and_model(path))
found["foreign"] = outcome(lambda: load_data_and_model("dataset/tiny/tiny.train.inter"))
print("FOUND", json.dumps(found))
"""


def run_script(script, *arguments, cwd):
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.rpartition("FOUND ")[2])


@needs_ray
@needs_pandas_2
def test_quick_start(tmp_path):
    write_presplit(make_data(0), tmp_path / "dataset")
    metrics = [*SETTINGS["metrics"], *OF_LISTS]
    found = run_script(QUICK_START, json.dumps(SETTINGS | {"metrics": metrics}), cwd=tmp_path)
    assert set(found["test"]) == set(found["SRGNN"]) == {f"{name.lower()}@5" for name in metrics}
    assert not found["anomaly"]
    assert found["class"] == "recbole_tme.models.tmegnn.TMEGNN"
    assert found["config"] == [8, True] and found["topk"][1] == 3
    assert found["SRGNN class"] == "recbole.model.sequential_recommender.srgnn"
    assert found["reordered"].startswith("UserError: ") and "reordered" in found["reordered"]
    assert "is not a checkpoint" in found["foreign"]


ML_100K = """
import json, logging, sys, warnings
warnings.simplefilter("ignore")
import recbole_tme
from recbole.quick_start import run_recbole

result = run_recbole(model=sys.argv[1], dataset="ml-100k", config_dict=json.loads(sys.argv[2]))
print("FOUND", json.dumps(result["test_result"]))
"""


@pytest.mark.slow
@needs_ray
@needs_pandas_2
@pytest.mark.parametrize("model", ["TMEGNN", "TMEGNNDP", "DANSeR"])
def test_stock_recbole_trains_our_models_on_its_own_data(model, tmp_path):
    # Users of middling length are enough to tell a model that learns from a random one.
    shared = {key: SETTINGS[key] for key in ("metrics", "show_progress", "state", "gpu_id")}
    few = shared | {"user_inter_num_interval": "[20,30]", "topk": [50], "valid_metric": "MRR@50", "epochs": 4}
    found = run_script(ML_100K, model, json.dumps(few), cwd=tmp_path)
    assert set(found) == {"recall@50", "mrr@50"}
    by_chance = 50 / 1400
    assert found["recall@50"] > 2 * by_chance


RAY = """
import json, warnings
warnings.simplefilter("ignore")
import ray
from recbole_tme.config.load import load_config

@ray.remote
def name_of(config):
    from recbole.utils import get_model
    return [config.model_class.__module__, get_model("TMEGNN") is config.model_class]

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
config = load_config("TMEGNN", "toy", config_dict={"device": "cpu"})
print("FOUND", json.dumps(ray.get(name_of.remote(config))))
ray.shutdown()
"""


@pytest.mark.slow
@needs_ray
def test_ray_worker(tmp_path):
    assert run_script(RAY, cwd=tmp_path) == ["recbole_tme.models.tmegnn", True]


def test_property_files_lie_where_recbole_is_told_to_look():
    assert registry.property_file(TMEGNN) == properties_root() / "model" / "TMEGNN.yaml"
