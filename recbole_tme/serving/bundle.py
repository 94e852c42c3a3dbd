"""``recbole-tme bundle``: a trained model in one folder, to pass on: plain data with checksums.

A bundle holds ``bundle.json`` (format and version, the model's name and settings, its results on the test set, and size
and SHA-256 of the other files and of itself), ``model.safetensors`` (the weights) and ``catalogue.json`` (item ids,
their clicks in training and their titles). Nothing in it is pickled and loading it runs no code of it. One of our own
models needs no RecBole to be loaded, only torch, numpy, safetensors and PyYAML (pandas too for a DataFrame, scipy for
``SR`` and ``LastItemKNN``); RecBole's own models need it, and a plugin's has to be loaded first.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from recbole_tme.errors import UserError
from recbole_tme.runs.checkpoint import read_weights
from recbole_tme.runs.itemlist import ItemList
from recbole_tme.serving.about_run import FACTS_SHAPE, run_facts
from recbole_tme.serving.new_items import with_new_items
from recbole_tme.serving.saved import SavedModel, build_model
from recbole_tme.utils.files import file_sha256, new_folder, write_json, writing
from recbole_tme.utils.shapes import mismatch, read_json

FORMAT = "recbole_tme bundle"
VERSION = 1
MANIFEST, WEIGHTS, ITEMS = "bundle.json", "model.safetensors", "catalogue.json"
SHAPE = {"model": str, "settings": dict, "files": {str: dict}, "about?": FACTS_SHAPE}


def is_bundle(path: Path) -> bool:
    """Whether a folder says that it is a bundle."""
    return (path / MANIFEST).is_file()


def write_bundle(run: Path | str, out: Path | str, new_items: Sequence[Path | str] = ()) -> SavedModel:
    """Write the bundle of a finished run, whole or not at all.

    Args:
        run: its directory.
        out: the folder to make.
        new_items: see :func:`~recbole_tme.serving.new_items.with_new_items`.

    Returns:
        What is in the bundle.

    Raises:
        UserError: ``out`` exists or cannot be written, the run cannot be loaded without its data set, or as
            :func:`~recbole_tme.serving.new_items.with_new_items`.
    """
    from recbole_tme.serving.from_run import read_run

    # Before the run is read.
    if Path(out).exists():
        raise UserError(f"{out} exists already; name another folder for --out")
    saved = with_new_items(read_run(Path(run)), new_items)
    pack(saved, Path(out), run_facts(Path(run)))
    return saved


def pack(saved: SavedModel, out: Path, about: Mapping[str, Any] | None = None) -> None:
    """Write the bundle of a model, whole or not at all.

    Args:
        saved: the model.
        out: the folder to make.
        about: what :func:`~recbole_tme.serving.about_run.run_facts` tells of its run, where it has one.

    Raises:
        UserError: ``out`` exists or cannot be written, or the model cannot be loaded without its data set.
    """
    if out.exists():
        raise UserError(f"{out} exists already; name another folder for --out")
    # Do not write a bundle that cannot be loaded.
    build_model(saved, torch.device("cpu"))
    with writing(out), new_folder(out) as partial:
        if saved.new_items:
            save_file(dict(saved.weights), partial / WEIGHTS)
        else:
            shutil.copyfile(saved.weights_file, partial / WEIGHTS)
        saved.items.write(partial / ITEMS)
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "model": saved.name,
            "settings": dict(saved.settings),
            "files": {name: fingerprint(partial / name) for name in (WEIGHTS, ITEMS)},
            **({} if about is None else {"about": dict(about)}),
        }
        manifest["sha256"] = digest(manifest)
        write_json(partial / MANIFEST, manifest)


def read_saved(path: Path) -> SavedModel:
    """The model of a finished run, or of a bundle; neither needs the data set.

    Raises:
        UserError: there is no finished run and no bundle, the model is not to be had here, or a file is missing or
            damaged.
    """
    if is_bundle(path):
        return read_bundle(path)
    # A run's configuration is RecBole's, and a bundle does not need it.
    from recbole_tme.runs.find import named_run
    from recbole_tme.serving.from_run import read_run

    return read_run(named_run(path))


def read_bundle(path: Path) -> SavedModel:
    """The model in a bundle.

    Raises:
        UserError: a file is missing, damaged, or of another format or version; names it.
    """
    manifest = read_manifest(path / MANIFEST)
    for name in (WEIGHTS, ITEMS):
        file = path / name
        if not file.is_file():
            raise UserError(f"{file} is missing; copy the whole bundle again")
        if fingerprint(file) != manifest["files"].get(name):
            raise UserError(f"{file} is damaged: its checksum is not the one in {MANIFEST}; copy the bundle again")
    return SavedModel(
        name=manifest["model"],
        settings=manifest["settings"],
        items=ItemList.read(path / ITEMS),
        weights=read_weights(path / WEIGHTS),
        weights_file=path / WEIGHTS,
    )


def read_manifest(file: Path) -> dict:
    """The content of a ``bundle.json``.

    Raises:
        UserError: it is damaged, or of another format or version.
    """
    manifest = read_json(file, {}, "it is damaged; copy the bundle again")
    if manifest.get("format") != FORMAT:
        raise UserError(f"{file} is no bundle of this program; recbole-tme bundle RUN --out=DIR makes one")
    if manifest.get("version") != VERSION:
        raise UserError(
            f"{file} has bundle version {manifest.get('version')!r}, this program reads {VERSION}; "
            f"install the version that made it or make the bundle again"
        )
    if manifest.pop("sha256", None) != digest(manifest):
        raise UserError(f"{file} is damaged: its checksum is not its own; copy the bundle again")
    wrong = mismatch(manifest, SHAPE)
    if wrong is not None:
        raise UserError(f"{file}: {wrong}; make the bundle again")
    return manifest


def digest(content: Mapping) -> str:
    """SHA-256 of plain data, however its JSON is laid out."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def fingerprint(file: Path) -> dict:
    """Size and SHA-256 of a file."""
    return {"bytes": file.stat().st_size, "sha256": file_sha256(file)}
