"""The built wheel holds the property files and runs without the checkout; the tested versions fit each Python."""

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

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_wheel_carries_the_properties_and_runs_on_its_own(tmp_path):
    source = tmp_path / "source"
    # Building writes into the source tree.
    subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=True)
    pip = [sys.executable, "-m", "pip", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(["git", "ls-files", "properties"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {f"recbole_tme/{name}" for name in tracked.stdout.split()} <= names
    modules = subprocess.run(["git", "ls-files", "recbole_tme"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(modules.stdout.split()) <= names

    site = tmp_path / "site"
    unpack = [*pip, "install", "--no-deps", "--ignore-requires-python", "--target", str(site), str(wheel)]
    subprocess.run(unpack, check=True)
    run = subprocess.run(
        [sys.executable, "-m", "recbole_tme", "--dataset=toy", "--epochs=1", "--show_progress=False"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert list(tmp_path.glob("runs/toy/TMEGNN/*/metrics.json"))


def test_every_package_is_listed_for_the_build(monkeypatch):
    given = {}
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("setuptools.setup", given.update)
    runpy.run_path("setup.py")
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "recbole_tme").rglob("__init__.py")}
    assert found | {"recbole_tme.properties"} == set(given["packages"])


@pytest.mark.parametrize("python", ["3.10", "3.11"])
def test_a_python_has_one_tested_version_of_each_package(python):
    pins = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0] != "#"]
    fitting = [pin for pin in pins if pin.marker is None or pin.marker.evaluate({"python_version": python})]
    assert Counter(pin.name for pin in fitting) == Counter({pin.name for pin in pins})
    for pin in fitting:
        try:
            installed = metadata(pin.name)
        except PackageNotFoundError:
            continue
        # What another version asks for is not to be known here.
        if pin.specifier.contains(installed["Version"]):
            assert SpecifierSet(installed["Requires-Python"] or "").contains(f"{python}.9"), f"{pin} does not install"
