"""``recbole-tme compare`` end to end: failures cost a row, a stopped comparison goes on, no process is left."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from helpers.run_results import results

import recbole_tme.api.comparing as command
from recbole_tme.api.comparing import finish as finish_with
from recbole_tme.cli import main
from recbole_tme.comparison.plan import plan
from recbole_tme.comparison.runs import Ended, Job, reason_of, reason_of_death
from recbole_tme.config.load import parse_overrides
from recbole_tme.errors import UserError
from recbole_tme.runs.directory import RunDirectory, finished_runs

ROOT = Path(__file__).parents[2]
DOOMED = """
import os, signal
from recbole_tme.models.srgnn import SRGNN

class Doomed(SRGNN):
    '''Ends in its second epoch as it is told.'''

    defaults = {"fate": "none"}

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.fate = config["fate"]

    def losses(self, interaction):
        factor = float("nan") if self.fate == "nan" and self.epoch else 1
        return {name: factor * loss for name, loss in super().losses(interaction).items()}

    def begin_epoch(self, epoch):
        self.epoch = epoch
        if epoch == 1 and self.fate == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if epoch == 1 and self.fate == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if epoch == 1 and self.fate == "memory":
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: 9 bytes")
        if epoch == 1 and self.fate == "bug":
            raise ZeroDivisionError("of something")
"""
REASONS = {
    "killed": "SIGKILL",
    "crash": "SIGSEGV",
    "memory": "out of memory",
    "bug": "ZeroDivisionError: of something",
    "nan": "became nan in epoch 2",
}
# Figures that are measured, and so never the same.
MEASURED = {"epoch_seconds", "query_ms", "peak_memory_mb"}


SHORT = ["--dataset=toy", "--epochs=3", "--seeds=1", "--threads=1"]


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def read(folder: Path, name: str):
    return json.loads((folder / name).read_text())


def figures(folder: Path) -> list[dict]:
    """Every line of a comparison but those of measured figures."""
    with (folder / "comparison.csv").open() as file:
        return [line for line in csv.DictReader(file) if line["metric"] not in MEASURED]


def one_of_each(fates, *arguments) -> tuple[int, dict[str, dict]]:
    """The exit code of a comparison of models with these fates after SPop, and its failures by fate."""
    Path("doomed.py").write_text(DOOMED)
    models = ",".join(["SPop", *(f"Doomed fate={fate}" for fate in fates)])
    code = main(["compare", f"--models={models}", *SHORT, "--plugin=doomed.py", "--out=out", *arguments])
    failures = read(Path("out"), "failures.json")
    assert [one["seed"] for one in failures] == [2020] * len(failures)
    return code, {one["model"].removeprefix("Doomed fate="): one for one in failures}


@pytest.mark.slow
def test_what_ends_a_run_costs_its_row_and_the_rest_is_used_again(capsys, monkeypatch):
    code, failures = one_of_each(["killed"], "--reference=Doomed fate=killed", "--embedding_size=8")
    assert code == 1 and list(failures) == ["Doomed"]
    printed = capsys.readouterr()
    assert "SIGKILL" in failures["Doomed"]["reason"] and Path(failures["Doomed"]["log"]).is_file()
    assert "Doomed has no finished run" in printed.err
    (directory,) = finished_runs([Path("runs")])
    plan = read(Path("out"), "plan.json")
    assert plan["seeds"] == [2020] and plan["seed_independent"] == ["SPop"]
    assert [row["runs"] for row in plan["rows"]] == [[str(directory.path)], [None]]
    assert directory.read_metrics()["protocol"]["fingerprint"] == plan["protocol"]["fingerprint"]
    assert plan["protocol"]["fingerprint"] in printed.out
    assert {line["model"] for line in figures(Path("out")) if line["metric"] == "failed"} == {"Doomed"}
    # Importing the plugin leaves its bytecode beside it, unless the user has switched that off.
    assert {path.name for path in Path().iterdir()} - {"__pycache__"} == {"runs", "out", "doomed.py"}

    # The finished run is used again.
    monkeypatch.setattr(command, "run_here", lambda *_: pytest.fail("started a process"))
    assert main(["compare", "--models=SPop", *SHORT]) == 0
    (folder,) = Path("runs/toy").glob("compare-*")
    assert {"comparison.csv", "comparison.md", "comparison.tex", "plan.json"} <= {
        path.name for path in folder.iterdir()
    }
    assert [path.name for path in directory.path.parent.iterdir()] == [directory.path.name]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_way_to_fail_has_its_reason():
    code, failures = one_of_each(REASONS, "--workers=2")
    assert code == 1 and list(failures) == list(REASONS)
    for fate, said in REASONS.items():
        assert said in failures[fate]["reason"] and "\n" not in failures[fate]["reason"]
    assert "Traceback" in Path(failures["bug"]["log"]).read_text()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "out of memory"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"), "out of memory"),
        (UserError("set another key"), "set another key"),
        (KeyError("item"), "KeyError: 'item'"),
        (ValueError("first line\nsecond line"), "ValueError: first line"),
        (ValueError(), "ValueError: "),
    ],
)
def test_a_reason_is_one_line(error, said):
    assert reason_of(error).startswith(said) and "\n" not in reason_of(error)


def test_a_process_that_could_not_speak_is_spoken_for():
    assert "SIGKILL" in reason_of_death(-signal.SIGKILL) and "memory" in reason_of_death(-signal.SIGKILL)
    assert "SIGSEGV" in reason_of_death(-signal.SIGSEGV) and "exit code 3" in reason_of_death(3)


def test_where_every_model_fails_the_reasons_are_kept():
    comparison = plan("SRGNN", "toy", [], parse_overrides([]), "2")
    jobs = [Job("SRGNN", config, "", Path(f"{config['seed']}.txt")) for config in comparison.rows[0].configs]
    found = finish_with(Path("out"), comparison, [Ended(job, reason="no luck") for job in jobs], None)
    assert not found.runs and len(found.failures) == 2 and "no finished run" in repr(found)
    assert [(one["seed"], one["reason"]) for one in read(Path("out"), "failures.json")] == [
        (2020, "no luck"),
        (2021, "no luck"),
    ]


# Whole programs.

MODELS = "--models=SRGNN,STAN,recbole:SASRec hidden_dropout_prob=0.3"
LONG = ["--dataset=toy", "--epochs=15", "--stopping_step=15", "--seeds=1", "--embedding_size=8", "--threads=1"]


def start(*arguments, cwd=None) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "recbole_tme", "compare", MODELS, *LONG, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A job in the background of a shell ignores interrupts, and so would all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(process, pattern):
    deadline = time.monotonic() + 300
    while not list(Path().glob(pattern)):
        if process.poll() is not None or time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            raise AssertionError(process.communicate()[1])
        time.sleep(0.02)


def family(process) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def finish(process) -> str:
    said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return said[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A comparison that nothing disturbs; a folder with its runs and its report."""
    folder = tmp_path_factory.mktemp("whole")
    finish(start("--out=report", cwd=folder))
    return folder


def runs_below(folder: Path) -> dict[str, RunDirectory]:
    """Finished runs by model, seed and settings."""
    return {
        f"{run.path.parent.name} {run.path.name.partition('-')[2]}": run for run in finished_runs([folder / "runs"])
    }


def check_same(folder: Path, whole: Path) -> None:
    assert figures(folder / "report") == figures(whole / "report")
    ours, theirs = runs_below(folder), runs_below(whole)
    assert ours.keys() == theirs.keys() and len(ours) == 3
    for name, run in ours.items():
        assert results(run) == results(theirs[name]), name


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_comparison_goes_on_and_reports_the_same(whole):
    moments = ("runs/toy/SRGNN/*/checkpoint-select.pt", "runs/toy/recbole-SASRec/*/history.csv")
    for moment in moments:
        process = start("--out=report")
        wait_for(process, moment)
        children = family(process)
        process.kill()
        process.communicate()
        _, alive = psutil.wait_procs(children, timeout=30)
        assert children and not alive
    said = finish(start("--out=report"))
    assert "use runs/toy/SRGNN" in said and "continue runs/toy/recbole-SASRec" in said
    check_same(Path(), whole)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_interrupted_comparison_leaves_nobody_and_goes_on(whole):
    process = start("--out=report", "--workers=2")
    wait_for(process, "runs/toy/SRGNN/*/history.csv")
    children = family(process)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "the same command goes on" in said and "Traceback" not in said
    _, alive = psutil.wait_procs(children, timeout=30)
    assert children and not alive
    # Half-written files would stand beside the others under names that begin with a dot.
    assert not list(Path("runs").rglob(".*"))
    finish(start("--out=report", "--workers=2"))
    check_same(Path(), whole)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_ray_cluster_does_the_same(whole):
    pytest.importorskip("ray", reason="needs the extra: pip install 'recbole_tme[tune]'")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        finish(start("--out=report", f"--ray-address={cluster.address}"))
    finally:
        cluster.shutdown()
    check_same(Path(), whole)
