"""The steps of deploy/Dockerfile as a builder would carry them out, in a folder instead of an image."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from helpers.serving_process import ROOT

DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text().replace("\\\n", " ")
# What is done to the image's system and not to what runs in it.
OF_THE_SYSTEM = ("useradd",)


def instructions() -> list[tuple[str, str]]:
    """The instructions and what they are given, in order."""
    lines = (line.strip() for line in DOCKERFILE.splitlines())
    return [tuple(line.split(None, 1)) for line in lines if line and line[0] != "#"]


def given(instruction: str) -> list[str]:
    """The words of the last ``ENTRYPOINT`` or ``CMD``, or of the health check's command."""
    (words,) = re.findall(rf"{instruction}\s+(\[.*\])$", DOCKERFILE, re.MULTILINE)
    return yaml.safe_load(words)


def build(folder: Path) -> Path:
    """Carry the build out: what the image has at ``/`` lies in ``folder``; returns the image's ``/app``.

    ``python`` is the one that runs the tests, and pip is set up as on this machine, where an image has its own.
    """
    place, carried_out = folder, 0
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    for name, words in instructions():
        if name == "WORKDIR":
            place = folder / words.lstrip("/")
            place.mkdir(parents=True)
        elif name == "COPY" and not words.startswith("--from"):
            *sources, target = words.split()
            for source in sources:
                copy(ROOT / source, place / target)
        elif name == "RUN" and not words.startswith(OF_THE_SYSTEM):
            command = re.sub(r"(?<![\w.])/app\b", str(folder / "app"), words)
            subprocess.run(
                ["sh", "-ec", command], cwd=place, env=environment, check=True, capture_output=True, text=True
            )
            carried_out += 1
    assert carried_out == 1
    return folder / "app"


def copy(source: Path, target: Path) -> None:
    """Copy as ``COPY`` does: a folder's content, or a file into a folder."""
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target / source.name if target.is_dir() else target)
