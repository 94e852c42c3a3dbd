"""The built wheel holds the property files and runs without the checkout; the tested versions fit each Python."""

import importlib.util
import os
import runpy
import subprocess
import sys
import zipfile
from collections import Counter
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import recbole_tme

ROOT = Path(__file__).parents[1]
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
PIP = [sys.executable, "-m", "pip", "-q"]

specification = importlib.util.spec_from_file_location("renew_constraints", ROOT / "scripts" / "renew_constraints.py")
renew = importlib.util.module_from_spec(specification)
specification.loader.exec_module(renew)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A clean clone: building writes into the source tree."""
    folder = tmp_path_factory.mktemp("build") / "source"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    return folder


def check_installs_and_runs(built: Path, folder: Path) -> None:
    """An sdist or a wheel, installed by itself, runs the main job in an empty folder, of the version it says."""
    site = folder / "site"
    subprocess.run([*PIP, "install", "--no-deps", "--target", str(site), str(built)], check=True)
    assert next(site.glob("recbole_tme-*.dist-info")).name == f"recbole_tme-{recbole_tme.__version__}.dist-info"
    run = subprocess.run(
        [sys.executable, "-m", "recbole_tme", "--dataset=ml100k-sessions", "--epochs=1", "--show_progress=False"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert list(folder.glob("runs/ml100k-sessions/TMEGNN/*/metrics.json"))


@pytest.mark.slow
def test_wheel_carries_the_properties_and_runs_on_its_own(tmp_path, source):
    subprocess.run([*PIP, "wheel", "--no-deps", "-w", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(["git", "ls-files", "properties"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {f"recbole_tme/{name}" for name in tracked.stdout.split()} <= names
    modules = subprocess.run(["git", "ls-files", "recbole_tme"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(modules.stdout.split()) <= names
    check_installs_and_runs(wheel, tmp_path)


@pytest.mark.slow
def test_sdist_installs_and_runs(tmp_path, source):
    build = pytest.importorskip("build", reason="needs the extra: pip install 'recbole_tme[test]'")
    command = [sys.executable, "-m", build.__name__, "--sdist", "--outdir", str(tmp_path), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (sdist,) = tmp_path.glob("*.tar.gz")
    check_installs_and_runs(sdist, tmp_path)


def test_every_package_is_listed_for_the_build(monkeypatch):
    given = {}
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("setuptools.setup", given.update)
    runpy.run_path("setup.py")
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "recbole_tme").rglob("__init__.py")}
    assert found | {"recbole_tme.properties"} == set(given["packages"])


@pytest.mark.parametrize("python", PYTHONS)
def test_a_python_has_one_tested_version_of_each_package(python):
    pins = [Requirement(line) for line in CONSTRAINTS.splitlines() if line[0] != "#"]
    fitting = [pin for pin in pins if pin.marker is None or pin.marker.evaluate({"python_version": python})]
    assert Counter(pin.name for pin in fitting) == Counter({pin.name for pin in pins})
    for pin in fitting:
        try:
            installed = metadata(pin.name)
        except PackageNotFoundError:
            continue
        # What another version asks for is not to be known here.
        if pin.specifier.contains(installed["Version"]):
            assert SpecifierSet(installed.get("Requires-Python", "")).contains(f"{python}.9"), f"{pin} does not install"


@pytest.mark.parametrize("python", PYTHONS)
def test_the_tested_versions_are_within_the_bounds(python):
    tomllib = pytest.importorskip("tomllib", reason="reading pyproject.toml needs Python 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ]
    pins = renew.read(CONSTRAINTS, python)
    for requirement in map(Requirement, required):
        applies = requirement.marker is None or requirement.marker.evaluate({"python_version": python})
        if applies and requirement.name != "recbole_tme":
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def test_constraints_are_written_per_python_and_read_back():
    old = '# tested\nnumpy==1.0\nray==2.0; python_version < "3.12"\nray==3.0; python_version >= "3.12"\n'
    resolved = {"3.10": {"numpy": "1.0"}, "3.11": {"numpy": "1.5", "six": "1"}, "3.13": {"numpy": "2.0", "ray": "4.0"}}
    text = renew.renew(old, resolved)
    assert text.splitlines()[1:] == [
        'numpy==1.0; python_version < "3.11"',
        'numpy==1.5; python_version >= "3.11" and python_version < "3.12"',
        'numpy==1.0; python_version >= "3.12" and python_version < "3.13"',
        'numpy==2.0; python_version >= "3.13"',
        'ray==3.0; python_version < "3.13"',
        'ray==4.0; python_version >= "3.13"',
        "six==1",
    ]
    # 3.12 was not resolved and keeps its pins; 3.14, newer than any that was, takes those of 3.13.
    assert renew.read(text, "3.12") == {"numpy": "1.0", "ray": "3.0", "six": "1"}
    assert renew.read(text, "3.14") == {"numpy": "2.0", "ray": "4.0", "six": "1"}


def test_a_python_that_runs_is_found_and_one_that_does_not_is_not(tmp_path):
    def find(version: str) -> subprocess.CompletedProcess:
        # pyenv's shims are on the path for versions that do not run.
        shim = tmp_path / f"python{version}"
        shim.write_text("#!/bin/sh\nexit 127\n")
        shim.chmod(0o755)
        path = f"{tmp_path}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {"PATH": path}
        return subprocess.run([ROOT / "scripts/find_python", version], env=environment, capture_output=True, text=True)

    here = "{}.{}".format(*sys.version_info)
    found = find(here)
    assert found.returncode == 0 and Path(found.stdout.strip()).exists()
    assert str(tmp_path) not in found.stdout
    assert find("3.99").returncode == 1 and find("3.99").stdout == ""
