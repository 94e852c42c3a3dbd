"""``recbole-tme doctor``: whether everything works here, answered without training and without Ray."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from recbole_tme import __version__
from recbole_tme.errors import first_line
from recbole_tme.utils import hardware, versions
from recbole_tme.utils.installing import install_extra, install_recbole
from recbole_tme.utils.terminal import fold

REQUIRED_IMPORTS = ("numpy", "pandas", "scipy", "pyarrow", "torch", "recbole.config", "recbole.trainer")
# What each extra is for, and the modules it brings.
EXTRAS = {
    "tune": ("recbole-tme tune", ("ray", "optuna", "hyperopt")),
    "serve": ("recbole-tme serve", ("fastapi", "uvicorn", "pydantic", "prometheus_client")),
    "index": ("--index=faiss", ("faiss",)),
    "encode": ("--item_encoder", ("transformers",)),
    "onnx": ("export --format=onnx", ("onnx", "onnxscript", "onnxruntime")),
    "plot": ("plots of diagnose and tune", ("matplotlib",)),
    "wandb": ("--logger=wandb", ("wandb",)),
    "mlflow": ("--logger=mlflow", ("mlflow",)),
    "completion": ("completion in a shell", ("argcomplete",)),
}
# Less than this is soon full: a run of a large data set takes some hundred megabytes.
LITTLE_DISK, LITTLE_MEMORY = 2e9, 4e9


class Finding(NamedTuple):
    """Something that was looked at.

    Attributes:
        group: versions, imports, extras, hardware or folders.
        state: ok, note, missing (of an extra) or broken.
        text: what was found, in a line.
        command: what mends it, to be typed as it is.
    """

    group: str
    state: str
    text: str
    command: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``recbole-tme doctor``."""
    parser.description = (
        "Say whether everything works on this machine: versions, imports, extras, GPU, memory, disk and folders. Exit "
        "code: 0, or 1 where something needed is broken. To be attached to a report of a fault."
    )
    parser.add_argument("--run_dir", default="runs", help="folder of runs (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print it for programs")


def run(args: argparse.Namespace) -> int:
    """Print what was found; 1 where something is broken."""
    from recbole_tme.data.locate import cache_root

    findings = [*_versions(), *_imports(), *_conflicts(), *_extras(), *_device(), *_memory()]
    for what, path in (("run_dir", Path(args.run_dir)), ("data cache", cache_root())):
        findings += _folder(what, path)
    broken = sum(finding.state == "broken" for finding in findings)
    if args.json:
        print(json.dumps(_plain(findings, not broken), indent=2, ensure_ascii=False))
        return 1 if broken else 0
    print(f"recbole-tme {__version__}, {platform.platform()}")
    for group in dict.fromkeys(finding.group for finding in findings):
        print(f"\n{group}")
        for finding in findings:
            if finding.group == group:
                print("\n".join(fold(f"{finding.state:<7} {finding.text}", " " * 8, _width())))
                if finding.command:
                    print(f"        {finding.command}")
    print(f"\n{broken} broken" if broken else "\neverything needed works")
    return 1 if broken else 0


def _plain(findings: list[Finding], works: bool) -> dict:
    about = {"recbole_tme": __version__, "platform": platform.platform(), "works": works}
    return about | {"versions": versions.installed_versions(), "findings": [one._asdict() for one in findings]}


def _width() -> int:
    return min(shutil.get_terminal_size((80, 24)).columns, 100)


def _versions() -> Iterator[Finding]:
    installed = versions.installed_versions()
    for tested in versions.TESTED:
        version = installed.get(tested.package)
        if version is None:
            if tested.optional:
                yield Finding("versions", "ok", f"{tested.package} not installed (optional)")
            elif tested.package != "recbole":  # which is tried below
                yield Finding("versions", "broken", f"{tested.package} is not installed; tested: {tested}")
        elif tested.low <= versions.version_tuple(version) < tested.below:
            yield Finding("versions", "ok", f"{tested.package} {version}")
        else:
            yield Finding("versions", "note", f"{tested.package} {version} is outside what was tested: {tested}")


def _imports() -> Iterator[Finding]:
    for name in REQUIRED_IMPORTS:
        try:
            importlib.import_module(name)
        # Whatever a broken installation raises is the finding.
        except Exception as error:
            if getattr(error, "name", None) == "recbole":
                yield Finding("imports", "broken", "RecBole is not installed; run:", install_recbole())
                return
            reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
            yield Finding("imports", "broken", f"import {name}: {type(error).__name__}: {reason}")


def _conflicts() -> Iterator[Finding]:
    installed = versions.installed_versions()
    for conflict in versions.conflicts(installed):
        # Ray is needed by tuning and cluster runs only.
        yield Finding("versions", "note" if "ray" in conflict.lower() else "broken", conflict)
    if versions.version_tuple(installed.get("pandas", "0")) >= (3,):
        text = "pandas 3: stock RecBole data sets are refused (recbole-tme's own are not affected)"
        yield Finding("versions", "note", text)
    if "ray" not in installed:
        text = "no Ray: no tune, no --ray-address, and stock RecBole's quick_start cannot be imported"
        yield Finding("versions", "note", text)
    elif versions.version_tuple(installed["ray"]) >= (2, 7):
        text = "Ray 2.7 and later: stock RecBole's own search by Ray fails (recbole-tme tune is not affected)"
        yield Finding("versions", "note", text)


def _extras() -> Iterator[Finding]:
    for extra, (meaning, modules) in EXTRAS.items():
        lacking = [module for module in modules if importlib.util.find_spec(module) is None]
        if lacking:
            yield Finding("extras", "missing", f"{extra}, for {meaning}; to have it:", install_extra(extra))
        else:
            yield Finding("extras", "ok", f"{extra}, for {meaning}")


def _device() -> Iterator[Finding]:
    try:
        import torch
    except ImportError:
        return
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for number in range(gpus):
        about = torch.cuda.get_device_properties(number)
        try:
            free = f", {torch.cuda.mem_get_info(number)[0] / 1e9:.1f} GB of it free"
        # A GPU that others have filled up refuses even the question.
        except RuntimeError as error:
            free = f"; {first_line(error)}"
        text = f"GPU {number}: {about.name}, {about.total_memory / 1e9:.1f} GB{free}, CUDA {torch.version.cuda}"
        yield Finding("hardware", "ok", text)
    if not gpus:
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        yield Finding("hardware", "ok", f"device: CPU, torch sees no GPU ({built})")
    fast = hardware.has_fast_bfloat16(torch.device("cuda" if gpus else "cpu"))
    yield Finding("hardware", "ok", f"loss_precision: auto is {'bf16' if fast else 'fp32'} on this device")
    yield Finding("hardware", "ok", f"threads: torch uses {torch.get_num_threads()} of {os.cpu_count()} cores")


def _memory() -> Iterator[Finding]:
    try:
        import psutil
    except ImportError:
        yield Finding("imports", "broken", "psutil is not installed")
        return
    memory = psutil.virtual_memory()
    text = f"memory: {memory.available / 1e9:.1f} GB of {memory.total / 1e9:.1f} GB available"
    yield Finding("hardware", "note" if memory.available < LITTLE_MEMORY else "ok", text)


def _folder(what: str, path: Path) -> Iterator[Finding]:
    nearest = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    try:
        # Asking for permission is not enough: a file system may be read-only or full.
        with tempfile.TemporaryFile(dir=nearest):
            free = shutil.disk_usage(nearest).free
        state = "note" if free < LITTLE_DISK else "ok"
        yield Finding("folders", state, f"{what} {path} can be written, {free / 1e9:.1f} GB free")
    except OSError as error:
        text = f"{what} {path} cannot be written ({nearest}: {error.strerror}); choose another"
        yield Finding("folders", "broken", text)
