"""One training in two processes on two nodes of a Ray cluster, and the loss of one of them."""

import contextlib
import csv
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.ray_nodes import PATIENCE, environment, head_node, members, ray_node
from helpers.run_results import only_run, results

from recbole_tme.cli import main
from recbole_tme.config.load import load_config
from recbole_tme.config.resolution import on_a_cluster
from recbole_tme.errors import UserError
from recbole_tme.experiment import cluster_training, together
from recbole_tme.experiment.run import run

SETTINGS = {"embedding_size": 16, "train_batch_size": 71, "learning_rate": 0.01, "valid_metric": "MRR@5"}
SETTINGS |= {"loss_precision": "fp32", "show_progress": False, "threads": 1, "device": "cpu"}


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def command(address: str, **settings) -> subprocess.Popen:
    words = [f"--{key}={value}" for key, value in (SETTINGS | settings).items()]
    arguments = ["run", "--model=SRGNN", "--dataset=toy", "--nproc=2", f"--ray-address={address}", *words]
    with open("said.txt", "ab") as said:
        return subprocess.Popen([sys.executable, "-m", "recbole_tme", *arguments], env=environment(), stderr=said)


def finish(process: subprocess.Popen) -> str:
    code = process.wait(PATIENCE)
    said = Path("said.txt").read_text()
    assert code == 0, said
    return said


def wait_for_epochs(n: int, process: subprocess.Popen, pattern: str = "runs/*/*/*/history.csv") -> None:
    deadline = time.monotonic() + PATIENCE
    while not any(len(file.read_text().splitlines()) > n for file in Path().glob(pattern)):
        assert process.poll() is None and time.monotonic() < deadline, Path("said.txt").read_text()
        time.sleep(0.05)


@pytest.fixture(scope="module")
def two_nodes():
    pytest.importorskip("ray", reason="needs the extra: pip install 'recbole_tme[tune]'")
    with head_node() as (address, records), ray_node(records, f"--address={address}") as second:
        yield address, second


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_nodes_do_what_two_processes_of_one_machine_do(two_nodes):
    address, second = two_nodes
    process = command(address, epochs=40, stopping_step=40)
    wait_for_epochs(1, process)
    # One of the two is on the other node.
    assert len(members(second, "_Member")) == 1
    said = finish(process)
    found = only_run()
    own = load_config("SRGNN", "toy", config_dict=SETTINGS | {"epochs": 40, "stopping_step": 40, "run_dir": "here"})
    assert results(run(own.replaced(nproc=2))) == results(found)
    # What is logged there is told here.
    assert "run directory: " in said and found.log_file.read_text().splitlines()[-1][-40:] in said
    alone = run(own.replaced(run_dir="alone"))
    for name, value in alone.read_metrics()["test"].items():
        assert found.read_metrics()["test"][name] == pytest.approx(value, abs=0.01)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_after_the_loss_of_a_process_all_go_on(two_nodes):
    address, second = two_nodes
    settings = {"epochs": 60, "stopping_step": 60, "loss_type": "sampled", "n_sampled": 30}
    process = command(address, **settings)
    wait_for_epochs(3, process)
    (worker,) = members(second, "_Member")
    worker.kill()
    said = finish(process)
    assert said.count("a process was lost") == 1 and "Traceback" not in said
    own = load_config("SRGNN", "toy", config_dict=SETTINGS | settings | {"run_dir": "here"})
    assert results(run(own.replaced(nproc=2))) == results(only_run())
    with only_run().history_file.open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 61))
    assert float(rows[0]["sent_bytes_per_step"]) > 0


class _Lost:
    """Stands for a cluster on which the main process is lost a number of times."""

    def __init__(self, times: int, epochs: int):
        self.times, self.epochs, self.resumed = times, epochs, []

    def __call__(self, function, calls, resources, meanwhile):
        config, resume = calls[0][2:]
        self.resumed.append(None if resume is None else resume.path)
        if len(self.resumed) <= self.times:

            def stop(epoch, _score):
                if epoch + 1 == self.epochs:
                    raise together.Lost("killed")

            with contextlib.suppress(together.Lost):
                run(config.replaced(nproc=1), resume, stop if self.epochs else None)
            raise together.Lost("killed")
        return [run(config.replaced(nproc=1), resume)]


@pytest.fixture
def no_ray(monkeypatch):
    from contextlib import nullcontext

    monkeypatch.setattr(cluster_training, "connected", lambda address, resources: nullcontext())

    def lost(times, epochs):
        stand_in = _Lost(times, epochs)
        monkeypatch.setattr(cluster_training, "call_together", stand_in)
        return stand_in

    return lost


def trained(**settings):
    config = load_config("SRGNN", "toy", config_dict=SETTINGS | {"epochs": 3} | settings)
    return cluster_training.train_on_cluster(config, "auto")


def test_what_was_lost_is_continued_from_its_last_epoch(no_ray, capsys):
    before = trained_alone = run(load_config("SRGNN", "toy", config_dict=SETTINGS | {"epochs": 3}))
    stand_in = no_ray(times=1, epochs=2)
    found = trained()
    # An earlier run of the same settings is not taken for this one.
    assert found.path != before.path and stand_in.resumed == [None, found.path]
    assert results(found) == results(trained_alone)
    assert capsys.readouterr().err.count("a process was lost (killed); all go on") == 1


def test_what_is_lost_again_and_again_is_one_line(no_ray):
    no_ray(times=9, epochs=1)
    with pytest.raises(UserError, match=r"lost 4 times .killed.; continue with recbole-tme run --resume="):
        trained()


def test_gpus_of_a_cluster_are_not_looked_for_here(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with on_a_cluster():
        assert load_config("SRGNN", "toy", config_dict={"nproc": 8})["nproc"] == 8
    with pytest.raises(UserError, match="a GPU each"):
        load_config("SRGNN", "toy", config_dict={"nproc": 8})


def test_an_address_without_a_cluster_is_one_line(capsys):
    pytest.importorskip("ray")
    assert main(["run", "--dataset=toy", "--nproc=2", "--ray-address=nonsense"]) == 2
    assert "neither auto nor HOST:PORT" in capsys.readouterr().err and not Path("runs").exists()
