"""The main job end to end: run directory, resume, reproduction, built-in models."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.run_results import Stop, only_run, results, stop_after
from safetensors.torch import load_file

from recbole_tme.cli import main
from recbole_tme.config.load import load_config
from recbole_tme.errors import UserError
from recbole_tme.experiment.run import run

TOY = {"show_progress": False, "epochs": 4, "embedding_size": 16, "rank_low": 3, "rank_high": 20}
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def toy_config(**settings):
    return load_config("TMEGNN", "toy", config_dict=TOY | settings)


def test_a_run_leaves_a_complete_run_directory_and_nothing_else(tmp_path):
    directory = run(toy_config())
    names = {path.name for path in directory.path.iterdir()}
    assert names == {
        "config.yaml", "history.csv", "checkpoint-select.pt", "model.safetensors", "items.txt", "catalogue.json",
        "ranks.npz", "details.json", "environment.json", "log.txt", "tensorboard", "metrics.json",
    }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert directory.path.parent == Path("runs") / "toy" / "TMEGNN"
    metrics = directory.read_metrics()
    assert metrics["protocol"]["test_instances"] == len(np.load(directory.ranks_file)["better"])
    assert metrics["test"]["hit@20"] >= metrics["test"]["hit@5"] >= metrics["test"]["mrr@5"] > 0
    assert list(directory.tensorboard_dir.iterdir())
    assert "P@20" in directory.log_file.read_text()
    items = directory.items_file.read_text().splitlines()
    assert load_file(directory.model_file)["item_embedding.weight"].shape[0] == len(items)


def test_history_has_each_named_loss_the_learning_rate_and_validation(tmp_path):
    directory = run(toy_config(lr_schedule="step", lr_step=2, lr_gamma=0.5, learning_rate=0.01))
    with directory.history_file.open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["lr"]) for row in rows] == [0.01, 0.01, 0.005, 0.005]
    assert {"phase", "epoch", "loss_recommendation", "loss_triplet", "train_seconds", "valid_mrr@20"} <= set(rows[0])
    assert float(rows[-1]["loss_recommendation"]) < float(rows[0]["loss_recommendation"])


def test_the_selected_epoch_is_the_best_on_validation_and_its_weights_are_kept(tmp_path):
    directory = run(toy_config())
    with directory.history_file.open() as file:
        scores = [float(row["valid_mrr@20"]) for row in csv.DictReader(file)]
    metrics = directory.read_metrics()
    assert scores[metrics["epoch"] - 1] == max(scores) == metrics["valid"]["mrr@20"]


@pytest.mark.parametrize("settings", [{}, {"lr_schedule": "cosine", "dropout_prob": 0.3}, {"retrain": True}])
def test_resume_continues_bit_for_bit(settings):
    whole = run(toy_config(run_dir="whole", **settings))
    with pytest.raises(Stop):
        run(toy_config(run_dir="parts", **settings), on_epoch=stop_after(2))
    # Another state of the generators must not matter.
    torch.rand(17)
    broken_off = only_run("parts")
    assert not broken_off.finished
    assert main([f"--resume={broken_off.path}"]) == 0
    assert results(broken_off) == results(whole)


def test_resume_after_the_stop_of_early_stopping_trains_no_further():
    settings = {"learning_rate": 0.5, "lr_schedule": "none", "stopping_step": 0, "epochs": 9}
    whole = run(toy_config(run_dir="whole", **settings))
    epochs_done = len(whole.history_file.read_text().splitlines()) - 1
    whole.metrics_file.unlink()
    assert main([f"--resume={whole.path}"]) == 0
    assert len(whole.history_file.read_text().splitlines()) - 1 == epochs_done < 9


def test_resume_of_a_run_killed_before_its_first_checkpoint_starts_it_over(monkeypatch):
    whole = run(toy_config(run_dir="whole"))
    killed = run(toy_config(run_dir="killed"))
    for path in (killed.metrics_file, killed.checkpoint_file("select"), killed.history_file):
        path.unlink()
    assert main([f"--resume={killed.path}"]) == 0
    assert results(killed) == results(whole)


def test_a_resumed_run_may_train_longer_and_its_config_says_so():
    whole = run(toy_config(run_dir="whole", epochs=6))
    with pytest.raises(Stop):
        run(toy_config(run_dir="parts", epochs=4), on_epoch=stop_after(2))
    resumed = only_run("parts")
    assert main([f"--resume={resumed.path}", "--epochs=6"]) == 0
    assert results(resumed) == results(whole)
    assert yaml.safe_load(resumed.config_file.read_text())["epochs"] == 6


def test_what_a_run_computes_cannot_change_when_it_is_resumed(capsys):
    directory = run(toy_config(epochs=1))
    assert main([f"--resume={directory.path}", "--learning_rate=0.1"]) == 2
    assert "learning_rate" in capsys.readouterr().err.splitlines()[-1]


def truncate(file):
    file.write_bytes(file.read_bytes()[:1000])


def rename_model(file):
    payload = torch.load(file, weights_only=True)
    torch.save(payload | {"model": "SRGNN"}, file)


def rename_item(file):
    payload = torch.load(file, weights_only=True)
    torch.save(payload | {"items": [*payload["items"][:-1], "another"]}, file)


@pytest.mark.parametrize("damage", [truncate, rename_model, rename_item, Path.unlink])
def test_a_checkpoint_that_does_not_belong_is_refused_and_left_alone(damage, capsys):
    directory = run(toy_config(epochs=1))
    directory.metrics_file.unlink()
    file = directory.checkpoint_file("select")
    damage(file)
    if damage is Path.unlink:
        file.write_text("not a checkpoint")
    before = file.read_bytes()
    assert main([f"--resume={directory.path}"]) == 2
    assert str(file) in capsys.readouterr().err.splitlines()[-1]
    assert file.read_bytes() == before and not directory.finished


def test_resume_of_a_finished_run_changes_nothing():
    directory = run(toy_config(epochs=1))
    before = directory.metrics_file.stat().st_mtime_ns
    assert main([f"--resume={directory.path}"]) == 0
    assert directory.metrics_file.stat().st_mtime_ns == before


def test_a_killed_process_can_be_resumed():
    whole = run(toy_config(run_dir="whole", epochs=30, stopping_step=30))
    command = [sys.executable, "-m", "recbole_tme", "--config_files", str(whole.config_file), "--run_dir=killed"]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(Path("killed").glob("*/*/*/checkpoint-select.pt")):
        assert time.monotonic() < deadline and process.poll() is None, "no checkpoint was written"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = only_run("killed")
    assert main([f"--resume={killed.path}"]) == 0
    assert results(killed) == results(whole)


def test_the_written_config_reproduces_the_run():
    first = run(toy_config(learning_rate=0.004, dropout_prob=0.2))
    assert main([f"--config_files={first.config_file}", "--run_dir=again"]) == 0
    assert results(only_run("again")) == results(first)


def test_a_run_is_repeated_bit_for_bit_with_several_threads():
    threads = torch.get_num_threads()
    try:
        # Large enough for torch to divide the gradients of indexing among its threads.
        settings = {"threads": 4, "embedding_size": 128, "epochs": 3}
        first, second = (run(toy_config(run_dir=name, **settings)) for name in ("first", "second"))
    finally:
        torch.set_num_threads(threads)
    assert results(first) == results(second)
    assert not torch.are_deterministic_algorithms_enabled()


def test_another_seed_is_another_run():
    first, second = run(toy_config(seed=1)), run(toy_config(seed=2))
    assert first.path != second.path and results(first)[3] != results(second)[3]


def test_retraining_uses_train_and_validation_for_the_chosen_epochs():
    directory = run(toy_config(retrain=True))
    with directory.history_file.open() as file:
        rows = list(csv.DictReader(file))
    chosen = directory.read_metrics()["epoch"]
    assert [row["phase"] for row in rows].count("retrain") == chosen
    assert not np.isclose(float(rows[-1]["loss_recommendation"]), float(rows[chosen - 1]["loss_recommendation"]))


def test_selection_on_test_is_labelled(tmp_path):
    directory = run(toy_config(select_on="test"))
    metrics = directory.read_metrics()
    assert metrics["valid"] is None and metrics["protocol"]["select_on"] == "test"
    assert "best-on-test" in directory.log_file.read_text()
    with pytest.raises(UserError, match="retrain"):
        run(toy_config(select_on="test", retrain=True))


@pytest.mark.parametrize("model", ["recbole:SRGNN", "recbole:GRU4Rec", "recbole:SASRec"])
def test_built_in_models_run_by_the_same_command(model):
    assert main([f"--model={model}", "--dataset=toy", "--epochs=1", "--show_progress=False"]) == 0
    assert only_run().read_metrics()["test"]["hit@20"] > 0


def test_a_diverged_training_says_what_to_do(capsys):
    assert main(["--dataset=toy", "--learner=sgd", "--learning_rate=100", "--epochs=9", "--show_progress=False"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "learning_rate" in error
    assert not only_run().finished


def test_resume_refuses_data_that_changed(cache_directory):
    directory = run(toy_config(epochs=1))
    directory.metrics_file.unlink()
    environment = json.loads(directory.environment_file.read_text())
    environment["protocol"]["data_sha256"] = "0" * 64
    directory.environment_file.write_text(json.dumps(environment))
    with pytest.raises(UserError, match="data_sha256"):
        run(toy_config(epochs=1), resume=directory)


def test_epoch_callback_sees_validation_scores():
    seen = []
    directory = run(toy_config(epochs=2), on_epoch=lambda epoch, score: seen.append((epoch, score)))
    assert [epoch for epoch, _ in seen] == [1, 2]
    assert max(score for _, score in seen) == 100 * directory.read_metrics()["valid"]["mrr@20"]
    assert all(math.isfinite(score) for _, score in seen)
