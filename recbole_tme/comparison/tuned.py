"""Settings that ``tune`` found, for the models of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_tme.config.result_settings import result_settings
from recbole_tme.errors import UserError
from recbole_tme.models import registry
from recbole_tme.schema.yamlfile import read_settings
from recbole_tme.utils.shapes import read_json

# What a comparison says itself.
NAMING = ("model", "backbone", "dataset", "seed")


# What is shown of a search; the rest is handed on.
RECORD_SHAPE = {"trials?": int, "seconds?": float, "budget?": (type(None), str)}


@dataclass(frozen=True)
class Study:
    """A search for a model's settings.

    Attributes:
        file: its ``best.yaml``.
        settings: those in it that change what a run computes, but for its seed.
        record: the content of ``study.json`` beside it.
    """

    file: Path
    settings: dict[str, Any]
    record: dict[str, Any]


def find_studies(folder: Path, classes: Sequence[type], dataset: str) -> list[Study | None]:
    """Each model's search below a folder, None for a model that has none on this data set.

    Args:
        folder: a folder with ``best.yaml`` files at any depth.
        classes: the models.
        dataset: the data set.

    Raises:
        UserError: the folder has no search of any of the models, or several of one; or a file is broken.
    """
    found: dict[str, list[Study]] = {}
    for file in sorted(folder.rglob("best.yaml")):
        settings = read_settings(file).values
        if settings.get("dataset") == dataset:
            kept = {k: v for k, v in result_settings(settings).items() if k not in NAMING}
            found.setdefault(_searched_model(file, settings), []).append(Study(file, kept, read_record(file)))
    names = [registry.registered_name(model_class) for model_class in classes]
    for name in names:
        if len(found.get(name, [])) > 1:
            files = " and ".join(str(study.file) for study in found[name])
            raise UserError(f"--tuned: {files} are both of {name}; name a folder with one of them")
    if not set(names) & set(found):
        there = f" (it has {', '.join(sorted(found))})" if found else ""
        raise UserError(
            f"--tuned: {folder} holds no best.yaml of one of these models on {dataset}{there}; run recbole-tme tune"
        )
    return [found[name][0] if name in found else None for name in names]


def _searched_model(file: Path, settings: Mapping[str, Any]) -> str:
    try:
        model_class = registry.resolve(str(settings.get("model")))
        return registry.registered_name(registry.with_backbone(model_class, settings.get("backbone")))
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


def read_record(best: Path) -> dict[str, Any]:
    """The ``study.json`` beside a ``best.yaml``; empty where there is none.

    Raises:
        UserError: it is damaged.
    """
    file = best.with_name("study.json")
    if not file.is_file():
        return {}
    return read_json(file, RECORD_SHAPE, "it is damaged; remove it, or run the search again")
