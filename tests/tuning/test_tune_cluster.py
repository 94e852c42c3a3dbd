"""Calls in Ray's workers: what they see, how failures come back, and addresses at which there is no Ray."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from recbole_tme.cli import main
from recbole_tme.errors import UserError
from recbole_tme.experiment.cluster import Resources, call_all, connected, local_cpus, worker_environment

ROOT = Path(__file__).parents[2]


def one_line(error) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("resources", "named"),
    [
        (Resources(cpus=10_000), "10000 of the CPUs"),
        (Resources(gpus=999), "999 of the GPUs"),
        (Resources(cpus=0), "cpus"),
        (Resources(cpus=1.5), "1.5"),
        (Resources(gpus=-1), "gpus"),
        (Resources(cpus=float("nan")), "cpus"),
    ],
)
def test_more_than_the_machine_has_is_refused_before_ray_starts(resources, named):
    with pytest.raises(UserError) as error, connected(None, resources):
        pass
    assert named in one_line(error)


def closed_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("address", ["nonsense", "host:", ":6379", "host:99999", "host:port"])
def test_an_address_of_another_form_is_refused(address):
    pytest.importorskip("ray")
    with pytest.raises(UserError) as error, connected(address):
        pass
    assert "HOST:PORT" in one_line(error)


@pytest.mark.parametrize("address", ["auto", "nowhere.invalid:6379", closed_port()])
def test_an_address_where_nothing_answers_is_refused(address, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError) as error, connected(address):
        pass
    assert address in one_line(error)


def test_something_that_answers_and_is_not_ray_is_refused():
    pytest.importorskip("ray")
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        with pytest.raises(UserError) as error, connected(f"127.0.0.1:{listener.getsockname()[1]}"):
            pass
    assert "not Ray" in one_line(error)


@pytest.mark.parametrize(
    "said",
    ["The current node timed out during startup. This could happen.", "Failed to start GCS.\n\nLast lines:\n", ""],
)
def test_a_ray_that_dies_at_start_is_one_line(monkeypatch, said):
    ray = pytest.importorskip("ray")

    def dying(**_):
        # Ray raises a plain Exception where its raylet has died.
        raise Exception(said)

    monkeypatch.setattr(ray, "init", dying)
    with pytest.raises(UserError, match="Ray does not start on this machine") as error, connected(None):
        pass
    assert (said.splitlines() or ["Exception"])[0].rstrip(".") in one_line(error)


@pytest.mark.slow
def test_a_raylet_that_dies_at_start_is_one_line(monkeypatch, tmp_path, capsys):
    pytest.importorskip("ray")
    from ray._private import services

    broken = tmp_path / "raylet"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(services, "RAYLET_EXECUTABLE", str(broken))
    monkeypatch.chdir(tmp_path)
    assert main(["tune", "--model=SRGNN", "--dataset=toy", "--num-samples=1", "--epochs=1"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "Ray does not start on this machine" in line


def test_ray_is_imported_by_no_module():
    names = "recbole_tme.experiment.cluster, recbole_tme.experiment.ray_versions"
    check = f"import sys, {names}; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})


def test_the_workers_environment_is_complete_and_leaves_gpus_to_ray(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("RECBOLE_TME_CACHE", "here")
    monkeypatch.setattr("sys.path", ["", "lib", "/abs"])
    found = worker_environment(Resources(cpus=2))
    assert found["PYTHONPATH"].split(os.pathsep) == [str(tmp_path), str(tmp_path / "lib"), "/abs"]
    assert found["RECBOLE_TME_CACHE"] == str(tmp_path / "here") and found["OMP_NUM_THREADS"] == "2"
    assert "CUDA_VISIBLE_DEVICES" not in found and "GOMP_SPINCOUNT" in found


def in_worker(what: str):
    """What the test asks of a worker."""
    if what == "fail":
        raise UserError("this call fails")
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    import torch

    return {
        "folder": os.getcwd(),
        "threads": torch.get_num_threads(),
        "OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"],
    }


def listening() -> list[str]:
    """Addresses at which this process and those below it wait for connections."""
    found = []
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        # Some end while they are looked at.
        with contextlib.suppress(psutil.NoSuchProcess):
            sockets = process.net_connections()
            found += [one.laddr.ip for one in sockets if one.status == psutil.CONN_LISTEN]
    return found


@pytest.mark.slow
def test_workers_see_the_callers_place_and_failures_come_back(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    half = Resources(cpus=0.5)
    with connected(None, half):
        outcomes = {outcome.index: outcome for outcome in call_all(in_worker, [("ask",), ("fail",), ("die",)], half)}
        addresses = listening()
    assert addresses and all("127.0.0.1" in address for address in addresses)
    assert outcomes[0].value == {
        "folder": str(tmp_path),
        "threads": 1,
        "OMP_NUM_THREADS": "1",
    }
    assert isinstance(outcomes[1].error, UserError) and "in_worker" in outcomes[1].trace
    assert outcomes[2].error is not None and outcomes[2].value is None
    assert local_cpus() >= 1
