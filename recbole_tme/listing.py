"""``list`` and ``doctor``: what there is and whether it works here, answered without training and without Ray."""

from __future__ import annotations

import argparse
import importlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from recbole_tme import compat, registry
from recbole_tme.errors import UserError
from recbole_tme.properties_root import properties_root
from recbole_tme.tabular import aligned

REQUIRED_IMPORTS = ("numpy", "pandas", "scipy", "pyarrow", "torch", "recbole.config", "recbole.trainer")


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    """Declare the arguments of ``list`` or ``doctor``."""
    parser.add_argument("--data_path", default="dataset_atomic", help="folder of data sets (default %(default)s)")
    if command == "doctor":
        parser.add_argument("--run_dir", default="runs", help="folder of runs (default %(default)s)")
        parser.set_defaults(function=doctor)
        return
    parser.add_argument("what", choices=("models", "datasets", "keys"))
    parser.add_argument("model", nargs="?", help="the model whose keys are listed")
    parser.add_argument("--backbone", help="the model that a model such as ATSRec trains")
    parser.add_argument("--plugin", action="append", default=[], help="a file that defines further models")
    parser.set_defaults(function=list_things)


def run(args: argparse.Namespace) -> int:
    """Do what the arguments ask for; returns the exit code: 0, or 1 where ``doctor`` found something broken."""
    return args.function(args)


def list_things(args: argparse.Namespace) -> int:
    """Print the table of models, data sets or keys.

    Raises:
        UserError: the plugin, the model or its property file is wrong.
    """
    for plugin in args.plugin:
        registry.load_plugin(plugin)
    if args.what != "keys" and (args.model or args.backbone):
        raise UserError(f"list {args.what} takes no further argument, got {args.model or args.backbone!r}")
    if args.what == "models":
        rows = [(model.name, model.origin, model.description) for model in registry.list_models()]
        print(aligned(("model", "origin", "description"), rows))
    elif args.what == "datasets":
        print(aligned(("data set", "state", "description"), dataset_rows(Path(args.data_path))))
    else:
        if args.model is None:
            raise UserError("list keys needs a model, such as: recbole-tme list keys TMEGNN")
        print(aligned(("key", "default", "type", "range", "meaning", "file"), key_rows(args.model, args.backbone)))
    return 0


def dataset_rows(data_path: Path) -> list[tuple[str, str, str]]:
    """Name, state ("ready", "cached" or "on demand") and description of every data set that can be named."""
    from recbole_tme.data.locate import cache_root, known_datasets

    own = {path.name for path in data_path.iterdir() if path.is_dir()} if data_path.is_dir() else set()
    rows = []
    for name in sorted(own | set(known_datasets())):
        state = "ready" if name in own else "cached" if (cache_root() / name).is_dir() else "on demand"
        rows.append((name, state, _description(properties_root() / "dataset" / f"{name}.yaml")))
    return rows


def key_rows(model: str, backbone: str | None = None) -> list[tuple[str, ...]]:
    """Key, default, type, range, meaning and declaring file of everything that can be set for a model, its own first.

    Raises:
        UserError: the model, its backbone or its property file is wrong.
    """
    from recbole_tme.config import declared_keys, model_keys
    from recbole_tme.inert_keys import WITHOUT_EFFECT

    model_class = registry.with_backbone(registry.resolve(model), backbone)
    own = model_keys(model_class)
    declared = declared_keys(model_class)
    ordered = [*own, *(name for name in declared if name not in own and name not in WITHOUT_EFFECT)]
    rows = []
    for name in ordered:
        key = declared[name]
        types = " or ".join([*key.types, *(["None"] if key.nullable else [])])
        default = "" if key.default is None else str(key.default)
        rows.append((name, default, types, key.range, key.help, f"{key.source.parent.name}/{key.source.name}"))
    return rows


def doctor(args: argparse.Namespace) -> int:
    """Print versions, device, threads, known conflicts and folders; 1 where something is broken."""
    findings = [*_versions(), *_imports(), *_conflicts(), *_device()]
    from recbole_tme.data.locate import cache_root

    findings += [_writable("run_dir", Path(args.run_dir)), _writable("data cache", cache_root())]
    for state, line in findings:
        print(f"{state:<7} {line}")
    broken = sum(state == "broken" for state, _ in findings)
    print(f"{broken} broken" if broken else "everything needed works")
    return 1 if broken else 0


def _versions() -> Iterable[tuple[str, str]]:
    versions = compat.installed_versions()
    for tested in compat.TESTED:
        version = versions.get(tested.package)
        if version is None:
            yield (
                ("ok", f"{tested.package} not installed (optional)")
                if tested.optional
                else (
                    "broken",
                    f"{tested.package} is not installed; tested: {tested}",
                )
            )
        elif tested.low <= compat.version_tuple(version) < tested.below:
            yield "ok", f"{tested.package} {version}"
        else:
            yield "note", f"{tested.package} {version} is outside what was tested: {tested}"


def _imports() -> Iterable[tuple[str, str]]:
    for name in REQUIRED_IMPORTS:
        try:
            importlib.import_module(name)
        # Whatever a broken installation raises is the finding.
        except Exception as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
            yield "broken", f"import {name}: {type(error).__name__}: {reason}"


def _conflicts() -> Iterable[tuple[str, str]]:
    versions = compat.installed_versions()
    for conflict in compat.conflicts(versions):
        # Ray is needed by tuning and cluster runs only.
        yield ("note" if "ray" in conflict.lower() else "broken"), conflict
    if compat.version_tuple(versions.get("pandas", "0")) >= (3,):
        yield "note", "pandas 3: stock RecBole data sets are refused (recbole-tme's own are not affected)"


def _device() -> Iterable[tuple[str, str]]:
    try:
        import torch
    except ImportError:
        return
    gpus = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    yield "ok", f"device: {', '.join(gpus) if gpus else 'CPU, torch sees no GPU'}"
    fast = compat.has_fast_bfloat16(torch.device("cuda" if gpus else "cpu"))
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


def _description(path: Path) -> str:
    """The first sentence of a property file's opening comment."""
    if not path.is_file():
        return "your own"
    words = []
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.removeprefix("#").strip()
        if not line.startswith("#") or not text:
            break
        words.append(text)
    sentence, stop, _ = " ".join(words).partition(". ")
    return sentence + stop.strip()
