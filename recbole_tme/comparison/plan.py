"""What a comparison trains: models, seeds and settings, resolved and checked before the first of them starts."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_tme.comparison.tuned import Study, find_studies
from recbole_tme.config.declared import known_keys
from recbole_tme.config.load import (
    DEFAULT_DATASET,
    Overrides,
    SessionConfig,
    command_line,
    load_config,
    parse_overrides,
)
from recbole_tme.config.result_settings import result_settings, settings_hash
from recbole_tme.errors import UserError
from recbole_tme.evaluation.metrics import check_metrics
from recbole_tme.evaluation.protocol import Protocol, load_data
from recbole_tme.evaluation.summary import distinct_names
from recbole_tme.experiment.run import check_selection
from recbole_tme.models import registry
from recbole_tme.models.blend import Blend
from recbole_tme.schema.yamlfile import read_settings
from recbole_tme.utils.spelling import did_you_mean

# What has to be the same for all models of a table, beside the data itself.
COMMON = (
    *("dataset", "data_path", "valid_ratio", "MAX_ITEM_LIST_LENGTH", "select_on", "retrain"),
    *("metrics", "topk", "valid_metric", "run_dir"),
)
# What a model of a comparison cannot have of its own, and where it is said.
ELSEWHERE = {"model": "--models", "dataset": "--dataset", "seed": "--seeds", "plugin": "--plugin"}
# Far more than anyone trains.
MOST_SEEDS = 1_000
# A comma or a space, unless it is inside brackets.
_COMMA, _SPACE = (re.compile(rf"{sign}(?![^\[{{]*[\]}}])") for sign in (",", r"\s+"))


@dataclass(frozen=True)
class Entry:
    """One model as it was asked for.

    Attributes:
        text: as written in ``--models``.
        model_class: its class, with the backbone where it has one.
        settings: those given for this model alone.
    """

    text: str
    model_class: type
    settings: Overrides

    @property
    def seed_independent(self) -> bool:
        """Whether no seed can change its result."""
        return registry.is_seed_independent(self.model_class)

    @property
    def runs_once(self) -> bool:
        """Whether another seed would repeat the run: that of a model without seeds, or of a blend of given runs."""
        return self.seed_independent or issubclass(self.model_class, Blend)


@dataclass(frozen=True)
class Row:
    """One model with its settings, resolved.

    Attributes:
        name: the model's name, and the settings that tell it from other rows of the same model.
        entry: as it was asked for.
        configs: the configuration per seed; one only where no seed can change the result.
        study: where its settings were searched; None for settings as given.
    """

    name: str
    entry: Entry
    configs: tuple[SessionConfig, ...]
    study: Study | None = None


@dataclass(frozen=True)
class Plan:
    """Rows of one protocol, over the same seeds, and the command line that asks for them."""

    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    protocol: Protocol
    command: str

    def runs(self) -> list[tuple[Row, SessionConfig]]:
        """Everything to be trained, all rows with the first seed first."""
        by_seed = itertools.zip_longest(*(row.configs for row in self.rows))
        return [(row, config) for configs in by_seed for row, config in zip(self.rows, configs) if config is not None]

    def hash(self) -> str:
        """Eight hex digits of everything that is compared."""
        hashes = [config.hash() for row in self.rows for config in row.configs]
        return settings_hash({"runs": hashes, "protocol": self.protocol.fingerprint})

    def row(self, name: str) -> Row:
        """The row that ``--reference`` names, as in ``--models`` or as in the table.

        Raises:
            UserError: there is none.
        """
        for row in self.rows:
            if name in (row.name, row.entry.text):
                return row
        names = [row.name for row in self.rows]
        hint = did_you_mean(name, names)
        raise UserError(f"--reference: {name} is not one of the models{hint}; choose among: {'; '.join(names)}")


def plan(
    models: str,
    dataset: str | None,
    config_files: Sequence[Path],
    overrides: Overrides,
    seeds: str,
    tuned: Path | None = None,
) -> Plan:
    """Resolve and check everything that a comparison trains.

    Settings come from, low to high: the property files, ``config_files``, the model's ``best.yaml``, ``overrides``, the
    model's own. A setting shared by all is ignored by models that lack the key, and so is a number of epochs by
    models that need none.

    Args:
        models: comma-separated; each a name as for ``registry.resolve``, followed by settings of its own, such as
            ``TMEGNN,TMEGNN triplet_weight=0,ATSRec+SASRec``.
        dataset: the data set; None takes the settings', else the default one.
        config_files: YAML files for all models, later ones win.
        overrides: settings for all models.
        seeds: a number of seeds, counted up from the settings' ``seed``, or a list of them such as ``1,2,3``.
        tuned: a folder of finished searches.

    Raises:
        UserError: a model, a key or a value is wrong, a row is there twice, the rows do not have one protocol, or the
            data set is not there.
    """
    if "model" in overrides:
        raise UserError("--model: a comparison takes --models=NAME,NAME")
    shared: dict[str, Any] = {}
    for file in config_files:
        shared |= read_settings(file).values
    shared |= overrides
    dataset = dataset or str(shared.get("dataset") or DEFAULT_DATASET)
    entries = [parse_entry(text.strip(), shared.get("backbone")) for text in _COMMA.split(models) if text.strip()]
    if not entries:
        raise UserError("--models names no model; write --models=TMEGNN,SPop,recbole:SASRec")
    classes = [entry.model_class for entry in entries]
    studies = [None] * len(classes) if tuned is None else find_studies(tuned, classes, dataset)
    known = [known_keys(model_class).keys() for model_class in classes]
    per_row = []
    for entry, study, keys in zip(entries, studies, known):
        # A key that no model knows is left in, to be refused.
        foreign = {key for key in shared if key not in keys and any(key in other for other in known)}
        # The class has its backbone, and a model of counts needs no epochs.
        done = {"backbone"} if registry.takes_backbone(entry.model_class) else set()
        idle = {"epochs"} if entry.seed_independent else set()
        passed_over = foreign | done | idle
        resolve = functools.partial(_resolve, entry, dataset, config_files, study, overrides, passed_over)
        numbers = parse_seeds(seeds, resolve()["seed"])
        per_row.append(tuple(resolve(seed) for seed in (numbers[:1] if entry.runs_once else numbers)))
    first, *_ = firsts = [configs[0] for configs in per_row]
    check_common(firsts)
    rows = tuple(map(Row, row_names(firsts), entries, per_row, studies))
    check_selection(first)
    data = load_data(first)
    check_metrics(first["metrics"], first["topk"], first["valid_metric"], len(data.tokens) - 1)
    options = {
        "models": models,
        "dataset": dataset,
        "seeds": seeds,
        "config_files": ",".join(map(str, config_files)) or None,
        "tuned": tuned,
        "plugin": first["plugin"],
    }
    settings = {key: value for key, value in overrides.items() if key != "plugin"}
    command = command_line("compare", options, settings)
    return Plan(rows, tuple(numbers), Protocol.of(first, data), command)


def _resolve(
    entry: Entry,
    dataset: str,
    config_files: Sequence[Path],
    study: Study | None,
    overrides: Overrides,
    passed_over: set[str],
    seed: int | None = None,
) -> SessionConfig:
    """The configuration of a row; its own settings are never ignored, whatever their names."""
    merged = Overrides()
    for part in (overrides, entry.settings):
        merged.update(part)
        merged.texts |= part.texts
    if seed is not None:
        merged["seed"] = seed
    searched = study.settings if study else {}
    ignore = passed_over - entry.settings.keys()
    try:
        return load_config(entry.model_class, dataset, config_files, searched, merged, ignore)
    except UserError as error:
        origin = f" with {study.file} as config_dict" if study else ""
        raise UserError(f"{entry.text}{origin}: {error}") from error


def parse_entry(text: str, backbone: str | None = None) -> Entry:
    """A model and settings of its own, such as ``TMEGNN triplet_weight=0``.

    Args:
        text: the name and the settings, separated by spaces.
        backbone: for a model that takes one and does not say which.

    Raises:
        UserError: there is no such model, what follows its name is no ``KEY=VALUE``, or a key that a model cannot have
            of its own.
    """
    name, *settings = _SPACE.split(text)
    for setting in settings:
        key, equals, _ = setting.partition("=")
        if not equals or not key or key.startswith("-"):
            raise UserError(f"--models: {setting!r} behind {name} is no KEY=VALUE; separate models by commas")
        if key in ELSEWHERE:
            raise UserError(f"--models: {name} {setting}: {key} is one for all models; set it by {ELSEWHERE[key]}")
    own = parse_overrides([f"--{setting}" for setting in settings])
    model_class = registry.resolve(name)
    if not registry.takes_backbone(model_class) or model_class.backbone_class is not None:
        backbone = None
    return Entry(text, registry.with_backbone(model_class, own.get("backbone", backbone)), own)


def parse_seeds(text: str, first: int) -> list[int]:
    """``"3"`` is three seeds from ``first`` on, ``"1,2,5"`` and ``"7,"`` are the seeds themselves.

    Raises:
        UserError: it is neither, or a seed is there twice.
    """
    words = [word.strip() for word in text.strip().strip("[]").split(",") if word.strip()]
    if not words or not all(word.isdecimal() for word in words):
        raise UserError(f"--seeds: {text!r} is neither a number of seeds, such as 3, nor a list of them, such as 1,2,3")
    # Longer ones are no number a machine can hold, and would take their time to be read.
    if max(map(len, words)) > 18:
        raise UserError(f"--seeds: {max(words, key=len)[:20]}... is too large; seeds are whole numbers below 2^32")
    numbers = list(map(int, words))
    if len(set(numbers)) < len(numbers):
        raise UserError(f"--seeds: {text} has a seed twice; leave one out")
    if "," in text or "[" in text:
        return numbers
    if numbers[0] == 0:
        raise UserError("--seeds: 0 seeds are none; write --seeds=3")
    if numbers[0] > MOST_SEEDS:
        raise UserError(
            f"--seeds: {numbers[0]} seeds of each model would never end; at most {MOST_SEEDS}, or one seed written as "
            f"{numbers[0]},"
        )
    return [first + i for i in range(numbers[0])]


def check_common(configs: Sequence[SessionConfig]) -> None:
    """Refuse rows that are not evaluated by one protocol.

    Raises:
        UserError: they differ in a setting that all must share; names it.
    """
    first = configs[0]
    for config in configs[1:]:
        for key in COMMON:
            if config[key] != first[key]:
                raise UserError(
                    f"{key}: {config[key]} for {config.registered_name} and {first[key]} for {first.registered_name}; "
                    f"models of one table share it, so give --{key} for all"
                )


def row_names(configs: Sequence[SessionConfig]) -> list[str]:
    """Each row's model, with the settings that tell it from other rows of that model.

    Raises:
        UserError: two rows are the same.
    """
    settings = [{k: v for k, v in result_settings(config.plain()).items() if k != "seed"} for config in configs]
    names = distinct_names([config.registered_name for config in configs], settings)
    hashes = [config.hash(ignore=("seed",)) for config in configs]
    for place, digest in enumerate(hashes):
        if digest in hashes[:place]:
            raise UserError(f"--models: {names[place]} is there twice with the same settings; leave one out")
    return names
