"""Write constraints.txt anew: for each Python the versions that pip chooses today within pyproject.toml's bounds.

    python scripts/renew_constraints.py --hold torch==2.13.0

Nothing is installed. A Python that this machine does not have keeps the lines it has; what comes out is to pass .ci/run
before it is committed. --hold keeps a package at a version (torch is what decides results to the last digit, and a
download of gigabytes).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
HEAD = "# The tested set, written by scripts/renew_constraints.py. `pip install -c constraints.txt .` installs it.\n"
# Parts of torch's builds for GPUs: torch itself asks for the one version that fits.
PART_OF_TORCH = ("nvidia-", "cuda-", "triton")
Pins = dict[str, str]


def renew(current: str, resolved: dict[str, Pins]) -> str:
    """The text of constraints.txt.

    Args:
        current: the text as it is; gives the pins of each Python that is not in ``resolved``.
        resolved: version by package, by Python.
    """
    by_python = {python: resolved.get(python) or read(current, python) for python in PYTHONS}
    newest = max((python for python in resolved), key=PYTHONS.index, default=PYTHONS[-1])
    for python in PYTHONS[PYTHONS.index(newest) + 1 :]:
        # Nothing is known of it: the newest tested set is the best guess.
        by_python[python] = by_python[newest]
    packages = sorted({package for pins in by_python.values() for package in pins})
    return HEAD + "".join(line for package in packages for line in lines(package, by_python))


def read(text: str, python: str) -> Pins:
    """The pins of a constraints file that hold for a Python."""
    required = [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    fitting = [one for one in required if one.marker is None or one.marker.evaluate(environment)]
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in fitting}


def lines(package: str, by_python: dict[str, Pins]) -> list[str]:
    """The lines of one package: one per run of Pythons that share a version; those that lack it join any run."""
    runs: list[list[str]] = []  # version, first Python, last Python
    for python in PYTHONS:
        version = by_python[python].get(package)
        if version is None:
            continue
        if runs and runs[-1][0] == version:
            runs[-1][2] = python
        else:
            runs.append([version, python, python])
    found = []
    for number, (version, _, _) in enumerate(runs):
        bounds = [] if number == 0 else [f'python_version >= "{runs[number][1]}"']
        if number + 1 < len(runs):
            bounds.append(f'python_version < "{runs[number + 1][1]}"')
        found.append(f"{package}=={version}{'; ' if bounds else ''}{' and '.join(bounds)}\n")
    return found


def resolve(python: str, interpreter: str, held: list[str]) -> Pins:
    """What pip would install of this project with all its extras, and RecBole."""
    with tempfile.TemporaryDirectory() as folder:
        constraint, report = Path(folder) / "held.txt", Path(folder) / "report.json"
        constraint.write_text("".join(f"{one}\n" for one in held))
        command = [interpreter, "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed"]
        command += ["-c", str(constraint), "--report", str(report), f"{ROOT}[test]"]
        subprocess.run(command, check=True)
        found = json.loads(report.read_text())["install"]
    # Without a local part: torch's build for CPUs (2.13.0+cpu) is as good as any other.
    pins = {canonicalize_name(one["metadata"]["name"]): Version(one["metadata"]["version"]).public for one in found}
    pins["recbole"] = "1.2.1"
    return {
        name: version for name, version in pins.items() if name != "recbole-tme" and not name.startswith(PART_OF_TORCH)
    }


def main() -> None:
    """Resolve for every Python of this machine and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hold", nargs="*", default=[], metavar="PACKAGE==VERSION", help="versions that do not move")
    held = parser.parse_args().hold
    resolved = {}
    for python in PYTHONS:
        found = subprocess.run([ROOT / "scripts" / "find_python", python], capture_output=True, text=True)
        print(f"{python}: {found.stdout.strip() or 'not on this machine'}", flush=True)
        if found.returncode == 0:
            resolved[python] = resolve(python, found.stdout.strip(), held)
    path = ROOT / "constraints.txt"
    path.write_text(renew(path.read_text(), resolved))


if __name__ == "__main__":
    main()
