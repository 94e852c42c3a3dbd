"""What is missing is named together with the command that installs it here."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from recbole_tme.utils import installing

ROOT = Path(__file__).parents[2]

# A process to which RecBole is not installed.
WITHOUT_RECBOLE = """
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == "recbole" else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
"""
PROGRAM = "from recbole_tme.cli import main; sys.exit(main(sys.argv[1:]))"


def without_recbole(code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_RECBOLE + code, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--dataset=toy"],
        ["--dataset=ml100k-sessions"],
        ["list", "models"],
        ["compare", "--models=SPop,STAN", "--dataset=toy"],
        ["tune", "--model=SRGNN", "--dataset=toy"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_command_without_recbole_says_what_to_run_on_one_line(tmp_path, arguments):
    done = without_recbole(PROGRAM, *arguments, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: RecBole is not installed; run: ")
    assert done.stderr.strip().endswith("-m pip install --no-deps recbole==1.2.1")
    assert not list(tmp_path.iterdir())


def test_doctor_without_recbole_says_it_once(tmp_path):
    done = without_recbole(PROGRAM, "doctor", cwd=tmp_path)
    lines = done.stdout.splitlines()
    broken = [place for place, line in enumerate(lines) if line.startswith("broken")]
    assert done.returncode == 1 and len(broken) == 1
    assert lines[broken[0] + 1].endswith("pip install --no-deps recbole==1.2.1")


def test_an_import_without_recbole_says_what_to_run(tmp_path):
    done = without_recbole("import recbole_tme; import recbole_tme.experiment.run", cwd=tmp_path)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and last.startswith("ModuleNotFoundError: RecBole is not installed; run: ")


def test_the_package_itself_is_imported_without_recbole(tmp_path):
    done = without_recbole("import recbole_tme; print(recbole_tme.__version__)", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""


def test_an_interpreter_below_the_working_directory_is_named_as_it_is_typed(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    assert installing.install_recbole() == ".venv/bin/python -m pip install --no-deps recbole==1.2.1"
    monkeypatch.setattr(sys, "executable", "/opt/python")
    assert installing.install_recbole() == "/opt/python -m pip install --no-deps recbole==1.2.1"


def test_an_extra_of_a_clone_is_installed_from_the_clone(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    assert installing.install_extra("tune").endswith(f"pip install '{ROOT}[tune]'")
    for recorded, source in (
        ('{"dir_info": {"editable": true}, "url": "file:///home/me/re%20po"}', "/home/me/re po"),
        ('{"url": "git+https://example.org/it"}', "recbole_tme"),
        (None, "recbole_tme"),
    ):
        found = SimpleNamespace(read_text=lambda name, recorded=recorded: recorded)
        monkeypatch.setattr(importlib.metadata, "distribution", lambda name, found=found: found)
        assert installing.install_extra("tune").endswith(f"pip install '{source}[tune]'")
