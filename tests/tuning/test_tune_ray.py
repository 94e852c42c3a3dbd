"""Studies by Ray: killed processes, and what comes out in the end."""

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from helpers.ray_nodes import PATIENCE, environment, head_node, ray_node

from recbole_tme.config.load import load_config
from recbole_tme.experiment.run import run

TOY = ["--dataset=toy", "--epochs=6", "--rank_low=3", "--rank_high=20", "--stopping_step=6"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(autouse=True)
def needs_ray():
    pytest.importorskip("ray")


def tune(*arguments, cwd) -> subprocess.Popen:
    log = (cwd / "log.txt").open("ab")
    command = [sys.executable, "-m", "recbole_tme", "tune", *arguments]
    return subprocess.Popen(command, cwd=cwd, env=environment(), stdout=log, stderr=log)


def events(folder: Path) -> list[dict]:
    """The journal's events; of a study that is not there yet none."""
    (journal,) = list(folder.glob("runs/*/*/tune-*/journal.jsonl")) or [None]
    return [] if journal is None else [json.loads(line) for line in journal.read_text().splitlines() if line[-1] == "}"]


def epochs(cwd: Path) -> int:
    """How many all trials together have had."""
    return sum(event["event"] == "epoch" for event in events(cwd))


def wait_for_epochs(n: int, process: subprocess.Popen, cwd: Path) -> None:
    deadline = time.time() + PATIENCE
    while epochs(cwd) < n:
        assert process.poll() is None and time.time() < deadline, (cwd / "log.txt").read_text()
        time.sleep(0.05)


def finish(process: subprocess.Popen, cwd: Path) -> None:
    assert process.wait(PATIENCE) == 0, (cwd / "log.txt").read_text()


def a_trial(below: subprocess.Popen) -> psutil.Process:
    """A worker that trains, among the descendants. Each trial has one of its own: for a moment there may be none."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for child in psutil.Process(below.pid).children(recursive=True):
            # Some end while they are looked at.
            with contextlib.suppress(psutil.Error):
                if any("ImplicitFunc" in word for word in child.cmdline()):
                    return child
        time.sleep(0.1)
    raise AssertionError("no trial is at work")


def check_whole(cwd: Path, trials: int) -> dict:
    """Every trial began once and ended once, with each of its epochs once; nothing of it looked at the test set."""
    found = events(cwd)
    begun = [event["trial"] for event in found if event["event"] == "begin"]
    ended = [event["trial"] for event in found if event["event"] == "end"]
    assert begun == list(range(trials)) and sorted(ended) == begun
    for trial in begun:
        rows = [event["row"] for event in found if event["event"] == "epoch" and event["trial"] == trial]
        assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
        assert all(set(row) == {"epoch", "score", "epoch_score", "seconds", "last"} for row in rows)
    (folder,) = cwd.glob("runs/*/*/tune-*")
    assert not list(folder.rglob("metrics.json")) and not (folder / ".ray").exists()
    return json.loads((folder / "study.json").read_text())


def test_killed_driver_and_killed_worker_lose_nothing(tmp_path):
    first = tune(*TOY, "--num-samples=6", cwd=tmp_path)
    wait_for_epochs(4, first, tmp_path)
    first.kill()
    first.wait()
    before = events(tmp_path)
    second = tune("--resume", "--dataset=toy", cwd=tmp_path)
    wait_for_epochs(epochs(tmp_path) + 2, second, tmp_path)
    a_trial(second).kill()
    finish(second, tmp_path)
    assert events(tmp_path)[: len(before)] == before
    record = check_whole(tmp_path, trials=6)
    assert record["trials"] == 6 == record["finished"] + record["stopped_early"] and record["open"] == 0
    assert record["stopped_early"] >= 1

    (best,) = tmp_path.glob("runs/*/*/tune-*/best.yaml")
    settings = yaml.safe_load(best.read_text())
    assert settings["epochs"] == 6 and settings["model"] == "TMEGNN"
    directory = run(load_config(None, None, [best], config_dict={"run_dir": str(tmp_path / "again")}))
    assert directory.read_metrics()["valid"]["mrr@20"] == record["best_score"]

    # Once more changes nothing, and the final runs are evaluated once.
    third = tune("--resume", "--dataset=toy", "--final-seeds=1", cwd=tmp_path)
    finish(third, tmp_path)
    (folder,) = tmp_path.glob("runs/*/*/tune-*")
    (final,) = json.loads((folder / "study.json").read_text())["final"]
    metrics = json.loads((Path(final["run"]) / "metrics.json").read_text())
    assert metrics["test"] == final["test"] and metrics["protocol"]["retrain"] is True
    assert len(list(tmp_path.glob("runs/toy/TMEGNN/*/metrics.json"))) == 1


def test_a_node_that_joins_is_used_and_its_death_loses_nothing(tmp_path):
    with head_node() as (address, records):
        driver = tune(*TOY, "--num-samples=6", f"--ray-address={address}", cwd=tmp_path)
        wait_for_epochs(2, driver, tmp_path)
        with ray_node(records, f"--address={address}") as second:
            a_trial(second)
            wait_for_epochs(epochs(tmp_path) + 2, driver, tmp_path)
        finish(driver, tmp_path)
    record = check_whole(tmp_path, trials=6)
    assert record["failed"] == record["open"] == 0 and record["finished"] + record["stopped_early"] == 6
