"""How a comparison's models came about: settings, seeds, dates, versions and machines of their runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from recbole_tme.config.declared import model_keys
from recbole_tme.config.result_settings import result_settings
from recbole_tme.errors import UserError
from recbole_tme.models import registry
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.utils.shapes import read_json

if TYPE_CHECKING:
    from recbole_tme.report.section import Section

STAMP = re.compile(r"^(\d{8}T\d{6})-")
# Words of a command line that say where things lie.
FOLDERS = re.compile(r" --(run_dir|data_path)[= ]\S+")
# What names the columns of a data set, and what stands in the table anyway.
UNTOLD = re.compile(r"_FIELD$|_PREFIX$|_SUFFIX$|^(model|dataset|seed|backbone_class)$")
_NOTHING = type(None)
SHAPE = {
    **dict.fromkeys(("command?", "python?", "platform?", "processor?", "device?"), (_NOTHING, str)),
    **dict.fromkeys(("cores?", "threads?"), (_NOTHING, int)),
    "packages?": (_NOTHING, {str: (_NOTHING, str)}),
}


@dataclass(frozen=True)
class Made:
    """How one run came about; parts that its files do not tell are empty.

    Attributes:
        seed: of the run.
        started: UTC, such as "2026-01-31 12:00".
        command: that made it, without the folders of the machine.
        settings: those that may change its result.
        versions: of Python and the packages, by name.
        machine: processor, cores and what it computed on.
    """

    seed: int
    started: str
    command: str
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    machine: str


def read_made(run: RunDirectory, seed: int) -> Made:
    """How a run came about."""
    try:
        about = read_json(run.environment_file, SHAPE, "")
    except UserError:
        about = {}
    stamp = STAMP.match(run.path.name)
    started = datetime.strptime(stamp.group(1), "%Y%m%dT%H%M%S").strftime("%Y-%m-%d %H:%M") if stamp else ""
    versions = {"Python": about.get("python"), **(about.get("packages") or {})}
    parts = [
        about.get("processor"),
        f"{about['cores']} cores" if about.get("cores") else None,
        f"on {about['device']}" if about.get("device") else None,
        f"{about['threads']} thread{'s' * (about['threads'] != 1)}" if about.get("threads") else None,
    ]
    return Made(
        seed=seed,
        started=started,
        command=FOLDERS.sub("", about.get("command") or ""),
        settings=result_settings(run.read_config()),
        versions={name: version for name, version in versions.items() if version},
        machine=", ".join(filter(None, parts)),
    )


def is_training_free(model: str) -> bool:
    """Whether a model counts instead of training; never said of a model that is not known here."""
    from recbole_tme.models.training_free.base import TrainingFree

    try:
        return issubclass(registry.resolve(model), TrainingFree)
    except UserError:
        return False


def settings_told(section: Section) -> tuple[dict[str, str], dict[str, str]]:
    """Which settings the models have, in words.

    A model without training reads none of the trainer's settings, so that only its own are told of it.

    Returns:
        By model, the settings that differ from one model to another; and those that all trained models share.
    """
    told = {}
    for model in section.models:
        settings = model.made[0].settings
        own = _own_keys(model.model)
        keys = (own & settings.keys()) - {"epochs"} if model.training_free else settings.keys()
        told[model.name] = {
            key: settings[key] for key in sorted(keys) if settings[key] is not None and not UNTOLD.search(key)
        }
    trained = [told[model.name] for model in section.models if not model.training_free]
    shared = {
        key: value
        for key, value in (trained[0] if len(trained) > 1 else {}).items()
        if all(key in other and other[key] == value for other in trained)
    }
    return {
        model.name: written({k: v for k, v in told[model.name].items() if model.training_free or k not in shared})
        for model in section.models
    }, {key: str(value) for key, value in shared.items()}


def written(settings: Mapping[str, Any]) -> str:
    """``a=1 b=0.5``"""
    return " ".join(f"{key}={'' if value is None else value}" for key, value in settings.items())


def common_and_odd(section: Section, of: str) -> list[tuple[str, list[str]]]:
    """What most runs have of something (``versions`` or ``machine``), and what others have with their models' names."""
    found: dict[str, list[str]] = {}
    for model in section.models:
        for made in model.made:
            value = getattr(made, of)
            text = value if isinstance(value, str) else ", ".join(f"{name} {number}" for name, number in value.items())
            if text:
                names = found.setdefault(text, [])
                names += [model.name] * (model.name not in names)
    return sorted(found.items(), key=lambda entry: (-len(entry[1]), entry[0]))


def dates(made: Sequence[Made]) -> str:
    """When some runs were started, first and last."""
    known = sorted({one.started for one in made if one.started})
    if not known:
        return ""
    first, last = known[0], known[-1]
    if first == last:
        return first
    day = f"{first.partition(' ')[0]} "
    return f"{first} to {last.removeprefix(day)}"


def _own_keys(model: str) -> set[str]:
    try:
        return set(model_keys(registry.resolve(model)))
    except UserError:
        return set()
