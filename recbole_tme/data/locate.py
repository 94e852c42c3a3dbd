"""Where a data set is, or how to get it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import platformdirs
import yaml

from recbole_tme.data.build import build, by_hand, fingerprint
from recbole_tme.data.readers.atomic import FORMAT_VERSION, write_dataset
from recbole_tme.errors import UserError
from recbole_tme.schema.property_files import properties_root
from recbole_tme.utils.files import recover
from recbole_tme.utils.spelling import did_you_mean

CACHE_VARIABLE = "RECBOLE_TME_CACHE"


def cache_root() -> Path:
    """Folder of the data sets that are built on demand: the user's cache directory, or below what the environment
    variable ``RECBOLE_TME_CACHE`` names."""
    base = os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("recbole_tme")
    return Path(base) / "datasets"


def known_datasets() -> list[str]:
    """Names of the data sets that have a property file."""
    return sorted(path.stem for path in (properties_root() / "dataset").glob("*.yaml"))


def locate(name: str, data_path: str | Path, offline: bool = False) -> Path:
    """Find a data set's folder, building it in the user's cache where that is needed and known how.

    Looked for in this order: ``data_path/name``; the user's cache; the sources in the data set's property file.

    Args:
        name: the data set's name.
        data_path: folder of data sets.
        offline: download nothing.

    Raises:
        UserError: the name is unknown, or none of the sources works; the line says what to do.
    """
    if name != Path(name).name or name.startswith(".") or not name:
        raise UserError(f"data set {name!r}: a name is expected; the folder of data sets is set by data_path")
    data_path = Path(data_path)
    own, cached = data_path / name, cache_root() / name
    recover(own)
    if own.is_dir():
        return own
    recipe_file = properties_root() / "dataset" / f"{name}.yaml"
    if not recipe_file.exists():
        if name == "ml-100k":
            raise UserError(f"data set {name!r} is ratings; its sessions are built in as --dataset=ml100k-sessions")
        names = {*known_datasets(), *(path.name for path in _folders(data_path))}
        raise UserError(
            f"unknown data set {name!r}{did_you_mean(name, sorted(names))} (neither {own} nor a property file of "
            f"that name exists); bring your own with recbole-tme prepare FILE --name {name} --out {data_path}"
        )
    recipe = yaml.safe_load(recipe_file.read_text(encoding="utf-8"))
    state = _state(cached, recipe)
    if state == "whole":
        return cached
    try:
        data, provenance = build(name, recipe, offline)
    except UserError as error:
        remedy = by_hand(name, recipe, data_path)
        raise UserError(
            f"data set {name} is neither in {own} nor in {cached} and cannot be built ({error})"
            + (f"; {remedy}" if remedy else "")
        ) from None
    try:
        return write_dataset(cache_root(), data, provenance, overwrite=state == "outdated")
    except UserError as error:
        if _state(cached, recipe) == "whole":
            # Another process was faster.
            return cached
        raise UserError(f"{error}; set {CACHE_VARIABLE} to a folder that can be written to") from None


def _folders(data_path: Path) -> list[Path]:
    return [path for path in data_path.iterdir() if path.is_dir()] if data_path.is_dir() else []


def _state(cached: Path, recipe: dict) -> str:
    """Whether a data set in the cache is absent, whole, or outdated: damaged, or built by another recipe."""
    if not cached.exists():
        return "absent"
    name = cached.name
    try:
        record = json.loads((cached / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "outdated"
    whole = (
        isinstance(record, dict)
        and record.get("format_version") == FORMAT_VERSION
        and record.get("recipe") in [fingerprint(source) for source in recipe["sources"]]
        and all((cached / f"{name}.{split}.inter").exists() for split in ("train", "test"))
    )
    return "whole" if whole else "outdated"
