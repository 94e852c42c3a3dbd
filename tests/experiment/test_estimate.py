"""What a run will take, told from a few of its steps: nothing is timed here but a clock that the steps turn."""

import re
from pathlib import Path

import pytest

from recbole_tme.cli import main
from recbole_tme.config.load import load_config
from recbole_tme.errors import UserError
from recbole_tme.experiment import estimate as module
from recbole_tme.experiment.estimate import Estimate, Seconds, estimate, measure
from recbole_tme.experiment.trainer import SessionTrainer
from recbole_tme.models.srgnn import SRGNN

QUICK = {"show_progress": False, "embedding_size": 8, "device": "cpu", "threads": 1}
STEP, BEGIN, BATCH = 1.0, 100.0, 7.0


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def turned(monkeypatch):
    """A clock that stands still but for what a step, the beginning of an epoch and a batch of scores add to it."""
    now = [0.0]

    def adding(seconds, function):
        def called(*args, **kwargs):
            now[0] += seconds
            return function(*args, **kwargs)

        return called

    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(module.time, "process_time", lambda: 2 * now[0])
    monkeypatch.setattr(SessionTrainer, "_backward", adding(STEP, SessionTrainer._backward))
    monkeypatch.setattr(SRGNN, "full_sort_predict", adding(BATCH, SRGNN.full_sort_predict))
    monkeypatch.setattr(SRGNN, "begin_epoch", adding(BEGIN, lambda self, epoch: None), raising=False)


@pytest.mark.parametrize("batch_size", [32, 512])
def test_steps_and_batches_stand_for_all_of_them(turned, batch_size):
    config = load_config("SRGNN", "toy", config_dict=QUICK | {"train_batch_size": batch_size, "eval_batch_size": 16})
    found = measure(config)
    assert found.training == Seconds(BEGIN + STEP * found.batches, 2 * (BEGIN + STEP * found.batches))
    # 389 test instances and those of a tenth of the training sessions, 16 at a time.
    assert found.test.clock == pytest.approx(BATCH * 25)
    assert found.validation.clock > BATCH and found.validation.clock % BATCH == pytest.approx(0, abs=1e-6)
    assert found.steps == min(found.batches, max(module.FEWEST, int(module.SECONDS / STEP)))
    assert found.memory > 50e6 and found.gpu_memory is None
    assert not list(Path().iterdir())


def test_the_whole_run_is_the_sum_of_its_parts():
    one = Seconds(1.0, 2.0)
    parts = dict.fromkeys(("start", "training", "validation", "test"), one)
    about = {"model": "M", "dataset": "d", "items": 1, "instances": 1, "batches": 1, "steps": 1}
    rest = {"memory": None, "gpu_memory": None, "epochs": 5, "stops_early": True}
    once = Estimate(**about, **rest, **parts, retrains=False)
    assert once.total() == Seconds(12.0, 24.0) and once.total(1) == Seconds(4.0, 8.0)
    # Retrained: every epoch once more, without its validation.
    assert Estimate(**about, **rest, **parts, retrains=True).total() == Seconds(17.0, 34.0)


def test_models_without_epochs_and_early_stopping_are_told():
    found = measure(load_config("STAN", "toy", config_dict={"show_progress": False, "device": "cpu"}))
    assert found.epochs == 1 and not found.stops_early
    settings = QUICK | {"epochs": 3, "stopping_step": 3, "neighbours": True}
    found = measure(load_config("DANSeR", "toy", config_dict=settings))
    assert found.epochs == 3 and not found.stops_early


@pytest.mark.slow
def test_several_processes_are_estimated_together():
    config = load_config("SRGNN", "toy", config_dict=QUICK | {"epochs": 2})
    one, two = estimate(config), estimate(config.replaced(nproc=2))
    # Both hold the libraries, and each takes its share of the same steps.
    assert two.memory > 1.5 * one.memory and two.batches == one.batches
    assert two.training.cpu > two.training.clock / 2


def test_a_blend_is_refused_in_one_line():
    config = load_config("Blend", "toy", config_dict={"members": "a,b"})
    with pytest.raises(UserError, match="estimate those"):
        estimate(config)


def test_the_command_says_it_in_words(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    words = [f"--{key}={value}" for key, value in QUICK.items()]
    assert main(["estimate", "--model=SRGNN", "--dataset=toy", "--epochs=2", *words]) == 0
    out = capsys.readouterr().out
    lines = re.sub(r"\n +", " ", out).splitlines()
    assert max(map(len, out.splitlines())) <= 80 < max(map(len, lines))
    assert lines[0].startswith("SRGNN on toy: 80 items, ")
    begins = [line.partition("  ")[0] for line in lines[1:]]
    assert begins == [
        "memory",
        "start",
        "an epoch",
        "the test",
        "the run",
        f"measured from {lines[-1].split()[2]} steps",
    ]
    assert "for 2 epochs" in lines[5] and all(line.count("(") <= 3 for line in lines)
    assert not list(Path().iterdir())


def test_bad_input_is_one_line(capsys):
    assert main(["estimate", "--model=SRGNN", "--dataset=toy", "--embeding_size=8"]) == 2
    assert "did you mean embedding_size" in capsys.readouterr().err
