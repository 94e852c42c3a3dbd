"""The built wheel holds the property files and runs without the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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


def test_every_package_is_listed_for_the_build():
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "recbole_tme").rglob("__init__.py")}
    assert found | {"recbole_tme.properties"} == set(settings["packages"])
