"""The measurements for a borrowed GPU run from end to end on a CPU, and without what such a machine lacks."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GPU = ROOT / "benchmarks" / "gpu"
ABSENT = ("ray", "duckdb", "rich")
# Python imports it at start, in every process that finds it on its path.
BLOCKING = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name.partition(".")[0])

sys.meta_path.insert(0, Absent())
"""


@pytest.fixture
def without_them(tmp_path):
    """The environment of a process that cannot import what a borrowed machine lacks."""
    folder = tmp_path / "blocking"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(BLOCKING, encoding="utf-8")
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), "PYTHON": sys.executable}
    tried = "; ".join(f"import {name}" for name in ABSENT[:1])
    assert (
        subprocess.run([sys.executable, "-c", tried], env=variables, capture_output=True, check=False).returncode == 1
    )
    return variables


@pytest.mark.slow
def test_every_part_runs_on_a_cpu_without_ray_duckdb_and_rich(tmp_path, without_them):
    out = tmp_path / "out"
    command = ["bash", str(GPU / "run.sh"), str(out), "--toy", "--device=cpu", "--budget=280"]
    done = subprocess.run(command, env=without_them, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:] + (out / "log.txt").read_text()[-4000:]
    day = json.loads((out / "day.json").read_text())
    assert {part["status"] for part in day["parts"].values()} == {"done"}
    assert day["parts"]["loss"]["result"]["chunk_rows"] in (128, 256, 512)
    assert day["parts"]["steps"]["result"]["epochs"].keys() >= {"SRGNN", "TMEGNN", "DANSeR"}
    (run,) = day["parts"]["table"]["result"]["runs"]
    assert 0 < run["test"]["mrr@20"] < 1
    with tarfile.open(out / "runs.tar.gz") as archive:
        names = {Path(name).name for name in archive.getnames()}
    assert {"metrics.json", "config.yaml", "ranks.npz"} <= names
    assert not any(name.endswith((".safetensors", ".pt")) for name in names)
    assert sum(file.stat().st_size for file in out.iterdir()) < 60e6
    # What the results hold is printed, too: a machine may give back no file.
    assert (out / "RESULTS.md").read_text().strip() in done.stdout


@pytest.fixture
def day(monkeypatch):
    monkeypatch.syspath_prepend(str(GPU))
    import day

    yield day
    del sys.modules["day"]


def test_a_part_that_fails_or_hangs_costs_no_other(day, monkeypatch, tmp_path):
    programs = {
        "tests": "raise SystemExit(3)",
        "loss": "import time; time.sleep(60)",
        "steps": "raise MemoryError",
        "waits": "print('nothing written')",
        "table": "import json, sys; json.dump({'text': ['the table']}, open(json.loads(sys.argv[1])['result'], 'w'))",
    }
    monkeypatch.setattr(day, "command", lambda name, job: [sys.executable, "-c", programs[name], json.dumps(job)])
    monkeypatch.setattr(day, "PARTS", {**day.PARTS, "loss": 0.01})
    monkeypatch.setattr(sys, "argv", ["day.py", str(tmp_path), "--budget=100"])
    assert day.main() == 1
    ended = {name: part["status"] for name, part in json.loads((tmp_path / "day.json").read_text())["parts"].items()}
    assert ended == {
        "tests": "failed with exit code 3",
        "loss": "stopped after 1 s",
        "steps": "failed with exit code 1",
        "waits": "failed: it left no result",
        "table": "done",
    }
    assert "the table" in (tmp_path / "RESULTS.md").read_text()
    assert "MemoryError" in (tmp_path / "log.txt").read_text()


def test_parts_are_chosen_by_name(day, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(day, "command", lambda name, job: [sys.executable, "-c", "raise SystemExit(9)"])
    monkeypatch.setattr(sys, "argv", ["day.py", str(tmp_path), "--only=loss,steps", "--skip=steps"])
    day.main()
    parts = json.loads((tmp_path / "day.json").read_text())["parts"]
    assert [name for name, part in parts.items() if part["status"] != "skipped"] == ["loss"]
    monkeypatch.setattr(sys, "argv", ["day.py", str(tmp_path), "--skip=lost"])
    with pytest.raises(SystemExit):
        day.main()
    assert "lost is not one of tests,loss" in capsys.readouterr().err
