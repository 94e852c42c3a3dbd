"""``recbole-tme doctor``: whether everything works here, answered without training and without Ray."""

from __future__ import annotations

import argparse
import importlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from recbole_tme.utils import hardware, versions
from recbole_tme.utils.installing import recbole_missing

REQUIRED_IMPORTS = ("numpy", "pandas", "scipy", "pyarrow", "torch", "recbole.config", "recbole.trainer")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``recbole-tme doctor``."""
    parser.add_argument("--run_dir", default="runs", help="folder of runs (default %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Print versions, device, threads, known conflicts and folders; 1 where something is broken."""
    from recbole_tme.data.locate import cache_root

    findings = [*_versions(), *_imports(), *_conflicts(), *_device()]
    findings += [_writable("run_dir", Path(args.run_dir)), _writable("data cache", cache_root())]
    for state, line in findings:
        print(f"{state:<7} {line}")
    broken = sum(state == "broken" for state, _ in findings)
    print(f"{broken} broken" if broken else "everything needed works")
    return 1 if broken else 0


def _versions() -> Iterable[tuple[str, str]]:
    installed = versions.installed_versions()
    for tested in versions.TESTED:
        version = installed.get(tested.package)
        if version is None:
            if tested.optional:
                yield "ok", f"{tested.package} not installed (optional)"
            elif tested.package != "recbole":  # which is tried below
                yield "broken", f"{tested.package} is not installed; tested: {tested}"
        elif tested.low <= versions.version_tuple(version) < tested.below:
            yield "ok", f"{tested.package} {version}"
        else:
            yield "note", f"{tested.package} {version} is outside what was tested: {tested}"


def _imports() -> Iterable[tuple[str, str]]:
    for name in REQUIRED_IMPORTS:
        try:
            importlib.import_module(name)
        # Whatever a broken installation raises is the finding.
        except Exception as error:
            if getattr(error, "name", None) == "recbole":
                yield "broken", recbole_missing()
                return
            reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
            yield "broken", f"import {name}: {type(error).__name__}: {reason}"


def _conflicts() -> Iterable[tuple[str, str]]:
    installed = versions.installed_versions()
    for conflict in versions.conflicts(installed):
        # Ray is needed by tuning and cluster runs only.
        yield ("note" if "ray" in conflict.lower() else "broken"), conflict
    if versions.version_tuple(installed.get("pandas", "0")) >= (3,):
        yield "note", "pandas 3: stock RecBole data sets are refused (recbole-tme's own are not affected)"
    if "ray" not in installed:
        yield "note", "no Ray: no tune, no --ray-address, and stock RecBole's quick_start cannot be imported"
    elif versions.version_tuple(installed["ray"]) >= (2, 7):
        yield "note", "Ray 2.7 and later: stock RecBole's own search by Ray fails (recbole-tme tune is not affected)"


def _device() -> Iterable[tuple[str, str]]:
    try:
        import torch
    except ImportError:
        return
    gpus = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    yield "ok", f"device: {', '.join(gpus) if gpus else 'CPU, torch sees no GPU'}"
    fast = hardware.has_fast_bfloat16(torch.device("cuda" if gpus else "cpu"))
    yield "ok", f"loss_precision: auto is {'bf16' if fast else 'fp32'} on this device"
    yield "ok", f"threads: torch uses {torch.get_num_threads()} of {os.cpu_count()} cores"


def _writable(what: str, path: Path) -> tuple[str, str]:
    nearest = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    try:
        # Asking for permission is not enough: a file system may be read-only or full.
        with tempfile.TemporaryFile(dir=nearest):
            return "ok", f"{what} {path} can be written"
    except OSError as error:
        return "broken", f"{what} {path} cannot be written ({nearest}: {error.strerror}); choose another"
