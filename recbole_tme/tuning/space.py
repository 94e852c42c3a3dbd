"""Search spaces: which settings of a model to try, read from ``properties/space/<Model>.yaml`` or a file of one's own.

Each line of a space is a key of the model's configuration and where its values come from::

    n_layers: {choice: [1, 2, 3]}
    dropout_prob: {uniform: [0.0, 0.5]}
    learning_rate: {loguniform: [1e-4, 1e-2]}
    negatives: {quniform: [5, 50, 5]}                                 # lowest, highest, step
    triplet_margin: {choice: [0.25, 0.5], unless: {triplet_weight: 0.0}}

``when: {other: value or [values]}`` keeps a key out of a trial unless another key, named above it, has one of those
values; ``unless`` is the contrary. A key that is kept out has its default.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_tme.config.declared import declared_keys
from recbole_tme.config.ignored_keys import REPLACED
from recbole_tme.config.load import SessionConfig
from recbole_tme.config.result_settings import NOT_IN_HASH
from recbole_tme.errors import UserError
from recbole_tme.models import registry
from recbole_tme.schema.keys import Key
from recbole_tme.schema.property_files import properties_root
from recbole_tme.schema.yamlfile import SettingsFile, read_settings
from recbole_tme.utils.spelling import did_you_mean

KINDS = {
    "choice": "[value, ...]",
    "uniform": "[low, high]",
    "loguniform": "[low, high]",
    "quniform": "[low, high, step]",
}
CONDITIONS = ("when", "unless")
# With these the score would mean something else in each trial, or a trial would be another kind of run.
NOT_TUNABLE = {
    *NOT_IN_HASH,
    *("model", "dataset", "backbone", "seed", "epochs", "retrain", "select_on", "valid_metric", "valid_ratio"),
    *("MAX_ITEM_LIST_LENGTH", "USER_ID_FIELD", "ITEM_ID_FIELD", "nproc", "reproducibility"),
}
# How often a value is drawn again instead of moved to a neighbouring one.
REDRAWN = 0.25
# Values of one key that are listed.
MOST_STEPS = 100_000
# A best value this near to an end of a range, as a share of it, lies on its border.
BORDER = 0.02


@dataclass(frozen=True)
class Parameter:
    """One key of a space.

    Attributes:
        key: the configuration's key.
        kind: a word of :data:`KINDS`.
        values: the choices of ``choice``; else the lowest and the highest value.
        step: of ``quniform``.
        conditions: ``(other key, its values, whether it must have one of them)`` each.
    """

    key: Key
    kind: str
    values: tuple[Any, ...]
    step: float | None = None
    conditions: tuple[tuple[str, tuple[Any, ...], bool], ...] = ()

    @property
    def name(self) -> str:
        return self.key.name

    @property
    def whole(self) -> bool:
        """Whether the values are whole numbers."""
        return self.kind != "choice" and "int" in self.key.types and "float" not in self.key.types

    def is_active(self, chosen: Mapping[str, Any]) -> bool:
        """Whether the key is part of a trial, given the values of the keys above it."""
        return all(other in chosen and (chosen[other] in values) == wanted for other, values, wanted in self.conditions)

    def fits(self, value: Any) -> bool:
        """Whether a value is of the type of this key's; the range may have been another when it was chosen."""
        if self.kind == "choice":
            return type(value) in map(type, self.values)
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        return number and (self.kind != "loguniform" or value > 0)

    @property
    def real(self) -> bool:
        """Whether the values are real numbers: these change no weight's shape."""
        return all(isinstance(value, float) for value in self.values) and not self.whole

    def near(self, value: Any, generator: random.Random) -> Any:
        """A neighbour of a value: the next choice, or larger or smaller by a quarter; now and then any value."""
        if generator.random() < REDRAWN:
            return self.draw(generator)
        if self.kind in ("choice", "quniform"):
            ordered = sorted(self.grid())
            place = ordered.index(value) + generator.choice((-1, 1))
            return ordered[min(max(place, 0), len(ordered) - 1)]
        return self.convert(value * generator.choice((0.8, 1.25)))

    def grid(self) -> list[Any]:
        """Every value, where there is a last one.

        Raises:
            UserError: the range is continuous.
        """
        if self.kind == "choice":
            return list(self.values)
        if self.step is None:
            raise UserError(f"{self.name}: a grid needs choice or quniform, not {self.kind}; choose another search")
        low, high = self.values
        return [self.convert(low + i * self.step) for i in range(round((high - low) / self.step) + 1)]

    def draw(self, generator: random.Random) -> Any:
        """A value at random."""
        if self.kind in ("choice", "quniform"):
            return generator.choice(self.grid())
        low, high = self.values
        if self.kind == "loguniform":
            return self.convert(math.exp(generator.uniform(math.log(low), math.log(high))))
        return self.convert(generator.uniform(low, high))

    def convert(self, value: float) -> Any:
        """A number in the key's type and inside the range, without the noise of arithmetic."""
        low, high = self.values
        value = min(max(float(f"{value:.12g}"), low), high)
        return round(value) if self.whole else value

    def border(self, value: Any) -> str | None:
        """Which end of its range a value lies on ("lowest" or "highest"), where more could lie beyond it."""
        numbers = [v for v in self.values if isinstance(v, (int, float)) and not isinstance(v, bool)]
        if len(numbers) < len(self.values) or len(set(numbers)) < (3 if self.kind == "choice" else 2):
            return None
        low, high = min(numbers), max(numbers)
        scale = math.log if self.kind == "loguniform" else float
        near = 0.0 if self.kind in ("choice", "quniform") else BORDER * (scale(high) - scale(low))
        if scale(value) - scale(low) <= near and not self._is_limit(low):
            return "lowest"
        return "highest" if scale(high) - scale(value) <= near and not self._is_limit(high) else None

    def _is_limit(self, value: float) -> bool:
        """Whether the key itself ends there."""
        return self.key.interval is not None and value in self.key.interval[1:3]


@dataclass(frozen=True)
class Space:
    """A search space, in the order of its file: a key's conditions name keys above it."""

    parameters: tuple[Parameter, ...]
    source: Path

    def choose(self, pick: Callable[[Parameter], Any]) -> dict[str, Any]:
        """The settings of one trial, each active key's value by ``pick(parameter)``."""
        chosen: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.is_active(chosen):
                chosen[parameter.name] = pick(parameter)
        return chosen

    def grid(self) -> Iterator[dict[str, Any]]:
        """Every combination once.

        Raises:
            UserError: a range is continuous.
        """

        def extended(chosen: dict[str, Any], rest: tuple[Parameter, ...]) -> Iterator[dict[str, Any]]:
            if not rest:
                yield chosen
            elif not rest[0].is_active(chosen):
                yield from extended(chosen, rest[1:])
            else:
                for value in rest[0].grid():
                    yield from extended(chosen | {rest[0].name: value}, rest[1:])

        yield from extended({}, self.parameters)

    def perturb(self, chosen: Mapping[str, Any], generator: random.Random) -> dict[str, Any]:
        """Settings near a trial's: real values have moved, but those that other keys depend on."""
        named = {other for parameter in self.parameters for other, _, _ in parameter.conditions}
        moved = {
            parameter.name: parameter.near(chosen[parameter.name], generator)
            for parameter in self.parameters
            if parameter.real and parameter.name in chosen and parameter.name not in named
        }
        return dict(chosen) | moved

    def without(self, fixed: Mapping[str, Any]) -> Space:
        """The space with some keys fixed: conditions on them are decided.

        Raises:
            UserError: nothing is left to search.
        """
        kept = []
        for parameter in self.parameters:
            decided = [c for c in parameter.conditions if c[0] in fixed]
            holds = all((fixed[other] in values) == wanted for other, values, wanted in decided)
            if parameter.name not in fixed and holds:
                open_ones = tuple(c for c in parameter.conditions if c[0] not in fixed)
                kept.append(Parameter(parameter.key, parameter.kind, parameter.values, parameter.step, open_ones))
        if not kept:
            raise UserError(f"{self.source}: every key of the space is fixed; leave one free to be searched")
        return Space(tuple(kept), self.source)

    def warnings(self, best: Mapping[str, Any]) -> list[str]:
        """A line for each best value on the border of its range."""
        lines = []
        for parameter in self.parameters:
            side = parameter.border(best[parameter.name]) if parameter.name in best else None
            if side:
                lines.append(
                    f"{parameter.name}: the best value {best[parameter.name]} is the {side} of its range in "
                    f"{self.source.name}; widen the range"
                )
        return lines


def space_file(model_class: type) -> Path:
    """The file of a model's own space; it need not exist. A third party's model has it beside its Python file."""
    if registry.is_third_party(model_class):
        return registry.source_file(model_class).with_name(f"{model_class.__name__}.space.yaml")
    name = registry.naming_settings(model_class)["model"].replace(":", "-")
    return properties_root() / "space" / f"{name}.yaml"


def load_space(config: SessionConfig, path: Path | str | None = None) -> Space:
    """Read and check a search space.

    Args:
        config: of the model that is tuned.
        path: the file; None takes the one that comes with this package.

    Raises:
        UserError: there is none, or a line of it is wrong: an unknown key, an empty range, a value the key cannot have,
            a condition on a key that is not above it. Names the file and the line.
    """
    file = space_file(config.model_class) if path is None else Path(path)
    if path is None and not file.is_file():
        beside = f" as {file}, or" if registry.is_third_party(config.model_class) else " and"
        raise UserError(
            f"no search space comes with {config.registered_name}; write one{beside} name it with --space=FILE"
        )
    settings = read_settings(file)
    keys = declared_keys(config.model_class)
    parameters: list[Parameter] = []
    for name, entry in settings.values.items():
        place = f"{file}:{settings.lines[name]}"
        above = {parameter.name: parameter for parameter in parameters}
        parameters.append(_parameter(_tunable(name, keys, place), entry, above, settings, place))
    return Space(tuple(parameters), file)


def _tunable(name: str, keys: Mapping[str, Key], place: str) -> Key:
    if name in NOT_TUNABLE or name in REPLACED:
        raise UserError(f"{place}: {name} cannot be tuned: scores of different values say nothing about the model")
    if name not in keys:
        tunable = [key for key in keys if key not in NOT_TUNABLE and key not in REPLACED]
        hint = did_you_mean(name, tunable)
        raise UserError(f"{place}: unknown key {name!r}{hint or '; recbole-tme list keys MODEL shows all'}")
    return keys[name]


def _parameter(key: Key, entry: Any, above: Mapping[str, Parameter], file: SettingsFile, place: str) -> Parameter:
    kinds = [kind for kind in entry if kind in KINDS] if isinstance(entry, dict) else []
    if len(kinds) != 1:
        raise UserError(f"{place}: {key.name} needs one of {', '.join(KINDS)}, such as {{choice: [1, 2, 3]}}")
    for word in entry:
        if word not in KINDS and word not in CONDITIONS:
            hint = did_you_mean(str(word), [*KINDS, *CONDITIONS])
            raise UserError(f"{place}: {key.name}: unknown word {word!r}{hint or f'; use {kinds[0]}, when, unless'}")
    (kind,) = kinds
    conditions = tuple(
        _condition(key.name, other, values, word == "when", above, place)
        for word in CONDITIONS
        for other, values in _mapping(entry.get(word), f"{place}: {key.name}: {word}").items()
    )
    given = entry[kind]
    if not isinstance(given, list) or (kind != "choice" and len(given) != KINDS[kind].count(",") + 1):
        raise UserError(f"{place}: {key.name}: {kind} takes {KINDS[kind]}, not {given!r}")
    if kind == "choice":
        if not given:
            raise UserError(f"{place}: {key.name}: choice is empty; give at least one value")
        return Parameter(key, kind, tuple(key.check(value, place) for value in given), None, conditions)
    low, high, step = _range(key, kind, given, place)
    return Parameter(key, kind, (low, high), step, conditions)


def _range(key: Key, kind: str, given: list, place: str) -> tuple[Any, Any, float | None]:
    for value in given:
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            raise UserError(f"{place}: {key.name}: {kind} takes numbers, not {value!r}")
    low, high = (key.check(value, place) for value in given[:2])
    if isinstance(low, str) or isinstance(high, str):
        raise UserError(f"{place}: {key.name} is no number; use choice")
    if not low < high:
        raise UserError(f"{place}: {key.name}: {kind}: [{low}, {high}] is empty; the lower end comes first")
    if kind == "loguniform" and low <= 0:
        raise UserError(f"{place}: {key.name}: loguniform needs a range above 0, not [{low}, {high}]")
    if kind != "quniform":
        return low, high, None
    steps = (high - low) / given[2] if given[2] > 0 else 0
    if steps > MOST_STEPS:
        raise UserError(
            f"{place}: {key.name}: the step {given[2]} gives {steps:.3g} values; at most {MOST_STEPS:,}, or uniform"
        )
    if steps < 1 or not math.isclose(steps, round(steps), rel_tol=1e-9):
        raise UserError(f"{place}: {key.name}: the step {given[2]} does not divide the range [{low}, {high}]")
    key.check(low + given[2], place)
    return low, high, given[2]


def _mapping(value: Any, place: str) -> dict:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{place} takes {{key: value or [values]}}, not {value!r}")
    return value


def _condition(
    name: str, other: str, values: Any, wanted: bool, above: Mapping[str, Parameter], place: str
) -> tuple[str, tuple[Any, ...], bool]:
    if other not in above:
        hint = did_you_mean(str(other), above)
        raise UserError(f"{place}: {name} depends on {other!r}, which is no key of the space above it{hint}")
    listed = values if isinstance(values, list) else [values]
    checked = tuple(above[other].key.check(value, f"{place}: {name}") for value in listed)
    for value in checked:
        parameter = above[other]
        if value not in parameter.grid() if parameter.kind in ("choice", "quniform") else True:
            raise UserError(f"{place}: {name} depends on {other}: {value}, which is no value of that key in this space")
    return other, checked, wanted
