"""A finished run loaded again is the run: the same ranks, and a clear line where it cannot be."""

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from recbole_tme.config.load import load_config
from recbole_tme.data.readers.atomic import write_dataset
from recbole_tme.data.synthetic import toy
from recbole_tme.errors import UserError
from recbole_tme.evaluation.ranks import Ranks, rank_all
from recbole_tme.experiment.loading import load_run
from recbole_tme.experiment.run import run
from recbole_tme.runs.directory import RunDirectory

QUICK = {"show_progress": False, "epochs": 2, "device": "cpu"}


def quick_run(folder, model="TMEGNN", dataset="toy", **settings) -> RunDirectory:
    small = {"embedding_size": 8, "rank_low": 3, "rank_high": 20} if model == "TMEGNN" else {}
    return run(load_config(model, dataset, config_dict=QUICK | small | {"run_dir": str(folder)} | settings))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> RunDirectory:
    return quick_run(tmp_path_factory.mktemp("loading"))


@pytest.fixture
def copied(finished, tmp_path) -> RunDirectory:
    return RunDirectory(shutil.copytree(finished.path, tmp_path / "run"))


def assert_same_ranks(directory: RunDirectory):
    config, _, model, loaders = load_run(directory.path)
    assert not model.training
    again, before = rank_all(model, loaders[2], config["device"]), Ranks.load(directory.ranks_file)
    for field in fields(Ranks):
        assert np.array_equal(getattr(again, field.name), getattr(before, field.name)), field.name


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("TMEGNN", {"retrain": True}),
        ("TMEGNN", {"select_on": "test"}),
        ("SPop", {}),
        ("STAN", {"retrain": True}),
        ("recbole:SASRec", {}),
    ],
)
def test_a_loaded_run_ranks_as_it_did(tmp_path, model, settings):
    assert_same_ranks(quick_run(tmp_path, model, **settings))


def test_other_random_numbers_drawn_before_do_not_matter(finished):
    torch.rand(11)
    assert_same_ranks(finished)


def test_the_training_sessions_are_those_the_model_saw(finished, tmp_path):
    plain, retrained = load_run(finished.path), load_run(quick_run(tmp_path, "SPop", retrain=True).path)
    assert len(retrained.data.train) == len(plain.data.train) + len(plain.data.valid)
    assert plain.data.tokens.tolist() == finished.read_items()


def test_a_run_whose_data_has_moved_is_loaded_from_where_it_is(tmp_path):
    made = tmp_path / "here"
    made.mkdir()
    write_dataset(made, toy("moving"), {})
    directory = quick_run(tmp_path, "SPop", dataset="moving", data_path=str(made))
    made.rename(tmp_path / "there")
    with pytest.raises(UserError, match="moving"):
        load_run(directory.path)
    assert load_run(directory.path, {"data_path": str(tmp_path / "there")}).data.name == "moving"


def test_data_that_changed_under_a_run_is_refused(tmp_path):
    data = toy("changing")
    write_dataset(tmp_path, data, {})
    directory = quick_run(tmp_path / "runs", "SPop", dataset="changing", data_path=str(tmp_path))
    shutil.rmtree(tmp_path / "changing")
    write_dataset(tmp_path, replace(data, test=data.test.slice(0, len(data.test) - 1)), {})
    with pytest.raises(UserError, match=r"other data than data set changing.*data_sha256") as caught:
        load_run(directory.path)
    assert "\n" not in str(caught.value)


def drop_item(run: RunDirectory):
    run.write_items(run.read_items()[:-1])


def swap_items(run: RunDirectory):
    items = run.read_items()
    run.write_items([items[0], *items[:0:-1]])


def change_weights(run: RunDirectory, change):
    weights = load_file(run.model_file)
    change(weights)
    save_file(weights, run.model_file)


def other_size(run: RunDirectory):
    settings = yaml.safe_load(run.config_file.read_text())
    run.write_config(settings | {"embedding_size": 12})


def other_model(run: RunDirectory):
    settings = yaml.safe_load(run.config_file.read_text())
    run.write_config(settings | {"model": "Gone"})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda run: run.metrics_file.unlink(), ["is not finished", "--resume="]),
        (lambda run: run.metrics_file.write_text("{"), ["metrics.json", "is not the metrics.json of a run"]),
        (lambda run: run.config_file.unlink(), ["not a run directory"]),
        (lambda run: run.items_file.unlink(), ["items.txt", "train the model again"]),
        (lambda run: run.items_file.write_bytes(b"\xff\xfe"), ["items.txt", "train the model again"]),
        (drop_item, ["items.txt", "another catalogue"]),
        (swap_items, ["items.txt", "reordered"]),
        (lambda run: run.model_file.unlink(), ["model.safetensors", "no readable weights"]),
        (lambda run: run.model_file.write_bytes(b""), ["model.safetensors", "no readable weights"]),
        (lambda run: run.model_file.write_text("weights of lead"), ["model.safetensors", "no readable weights"]),
        (lambda run: run.model_file.write_bytes(run.model_file.read_bytes()[:-9]), ["model.safetensors"]),
        (lambda run: change_weights(run, lambda w: w["item_embedding.weight"].fill_(torch.nan)), ["not finite"]),
        (lambda run: change_weights(run, lambda w: w.popitem()), ["model.safetensors", "does not fit the model"]),
        (other_size, ["model.safetensors", "does not fit the model"]),
        (other_model, ["unknown model 'Gone'"]),
    ],
)
def test_runs_that_cannot_be_loaded_are_named_in_one_line(copied, damage, words):
    damage(copied)
    with pytest.raises(UserError) as caught:
        load_run(copied.path)
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message


def test_another_machines_settings_may_be_overridden_but_are_checked(finished):
    assert load_run(finished.path, {"device": "auto"}).config["device"].type in ("cpu", "cuda")
    with pytest.raises(UserError, match="device"):
        load_run(finished.path, {"device": "gpu"})


def test_the_protocol_that_is_compared_is_the_runs_own(copied):
    metrics = copied.read_metrics()
    assert load_run(copied.path).config["MAX_ITEM_LIST_LENGTH"] == metrics["protocol"]["max_clicks"]
    with pytest.raises(UserError, match="max_clicks"):
        load_run(copied.path, {"MAX_ITEM_LIST_LENGTH": 3})


def test_items_are_read_as_they_were_written(tmp_path):
    run = RunDirectory(tmp_path)
    items = ["[PAD]", "a b", "line\u2028separator", "\x0b", "ü", ""]
    run.write_items(items)
    assert run.read_items() == items


def test_a_path_that_is_no_run_is_named(tmp_path):
    with pytest.raises(UserError, match="not a run directory"):
        load_run(Path("nowhere"))
    (tmp_path / "metrics.json").write_text(json.dumps({}))
    with pytest.raises(UserError, match="not a run directory"):
        load_run(tmp_path)
