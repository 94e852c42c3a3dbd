"""Keys, types and ranges of the configuration, read from the comments of the property files.

A property file is the one source of truth: each of its lines reads ``key: default  # (type) range help``, RecBole's
style made stricter. ``type`` is str, int, float, bool, dict, list or ``list of <type>``, alternatives joined by
``or``, ``None`` among them where the key may be empty. ``range`` is an interval such as ``[0, 1)`` or choices such as
``{batch, max}``, applied to each element of a list. RecBole's own files are read for their types only.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_tme.errors import UserError
from recbole_tme.schema.yamlfile import read_nodes
from recbole_tme.utils.spelling import did_you_mean

_COMMENT = re.compile(r"#\s*\((?P<types>[^)]*)\)\s*(?P<rest>.*)")
_INTERVAL = re.compile(r"(?P<left>[\[(])\s*(?P<low>[^,\s]+)\s*,\s*(?P<high>[^,\s\])]+)\s*(?P<right>[\])])\s*")
_CHOICES = re.compile(r"\{(?P<choices>[^}]*)\}\s*")
_READ_KEY = re.compile(r"""config\[\s*["'](\w+)["']\s*\]""")


@dataclass(frozen=True)
class Key:
    """One configuration key.

    Attributes:
        name, default: as in the property file.
        types: accepted types in order of preference, such as ``("list of int", "int")``; empty accepts anything.
        nullable: whether the key may be empty.
        interval: ``(left bracket, low, high, right bracket)``, or None.
        choices: accepted words, matched without regard to case; empty accepts any.
        help: one line of text.
        source: the file that declares it.
    """

    name: str
    default: Any
    types: tuple[str, ...]
    nullable: bool
    interval: tuple[str, float, float, str] | None
    choices: tuple[str, ...]
    help: str
    source: Path

    @property
    def range(self) -> str:
        """The interval or the choices as written in the property file."""
        if self.interval:
            left, low, high, right = self.interval
            return f"{left}{_number(low)}, {_number(high)}{right}"
        return f"{{{', '.join(self.choices)}}}" if self.choices else ""

    def describe(self) -> str:
        """What the key accepts, such as ``float in (0, 100]``."""
        types = " or ".join([*self.types, *(["None"] if self.nullable else [])])
        return f"{types} in {self.range}" if self.range else types

    def check(self, value: Any, where: str, text: str | None = None) -> Any:
        """Bring a value into the key's type.

        Args:
            value: the value as read.
            where: the place it was read from, for the message.
            text: the value as typed, where it comes from a command line: an id like ``007`` stays as it is.

        Raises:
            UserError: wrong type, out of range or not among the choices.
        """
        if value is None or (value == "None" and self.nullable):
            if self.nullable or not self.types:
                return None
            raise UserError(f"{where}: {self.name} must not be empty; give {self.describe()}")
        for kind in self.types:
            if kind == "str" and text is not None and not isinstance(value, (list, dict)):
                value = text
            converted = _convert(kind, value)
            if converted is not None:
                return self._check_range(converted, where)
        if not self.types:
            return value
        raise UserError(f"{where}: {self.name} must be {self.describe()}, not {value!r}")

    def _check_range(self, value: Any, where: str) -> Any:
        if isinstance(value, list):
            if not value and self.range:
                raise UserError(f"{where}: {self.name} must not be an empty list; give {self.describe()}")
            return [self._check_range(element, where) for element in value]
        if self.choices:
            words = {choice.lower(): choice for choice in self.choices}
            if str(value).lower() not in words:
                hint = did_you_mean(str(value), self.choices)
                raise UserError(f"{where}: {self.name} must be one of {', '.join(self.choices)}, not {value!r}{hint}")
            return words[str(value).lower()]
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{where}: {self.name} must be a finite number, not {value}")
        if self.interval and isinstance(value, (int, float)):
            left, low, high, right = self.interval
            above = value >= low if left == "[" else value > low
            below = value <= high if right == "]" else value < high
            if not (above and below):
                raise UserError(f"{where}: {self.name} must be {self.describe()}, not {value!r}")
        return value


def _number(value: float) -> str:
    return str(int(value)) if math.isfinite(value) and value.is_integer() else str(value)


def _convert(kind: str, value: Any) -> Any:
    """The value as ``kind``, or None where it is of another kind."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind.startswith("list"):
        element = kind.removeprefix("list").removeprefix(" of ")
        if not isinstance(value, (list, tuple)):
            return None
        converted = [_convert(element, v) for v in value] if element else list(value)
        return None if any(v is None for v in converted) and element else converted
    if kind == "bool":
        return value if isinstance(value, bool) else None
    if kind == "int":
        return int(value) if number and (isinstance(value, int) or value.is_integer()) else None
    if kind == "float":
        return _as_float(value) if number else None
    if kind == "str":
        return value if isinstance(value, str) else str(value) if number else None
    if kind == "dict":
        return dict(value) if isinstance(value, dict) else None
    raise ValueError(f"unknown type {kind!r} in a property file")


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


@functools.lru_cache(maxsize=256)
def property_keys(path: Path, strict: bool = True) -> dict[str, Key]:
    """The keys a property file declares.

    Args:
        path: the property file.
        strict: the file is written in our style, so that a key without a comment is a mistake in it. Otherwise
            (RecBole's files) the comments are a hint: a key also takes its default's type, any number its size.

    Raises:
        UserError: as :func:`~recbole_tme.schema.yamlfile.read_settings`; in a strict file also a key without
            ``# (type)``.
    """
    path = Path(path)
    values, nodes = read_nodes(path)
    text = path.read_text(encoding="utf-8-sig").splitlines()
    keys = {}
    for key_node, value_node in nodes:
        name = key_node.value
        line = text[key_node.start_mark.line]
        on_this_line = value_node.end_mark.line == key_node.start_mark.line
        tail = line[(value_node if on_this_line else key_node).end_mark.column :]
        match = _COMMENT.search(tail)
        if strict and not match:
            raise UserError(f"{path}:{key_node.start_mark.line + 1}: {name} needs a comment # (type) ...")
        comment = match.groupdict() if match else {"types": "", "rest": ""}
        keys[name] = _key(name, values[name], comment["types"], comment["rest"].strip(), path, strict)
    return keys


def _key(name: str, default: Any, types: str, rest: str, path: Path, strict: bool) -> Key:
    kinds = [kind.strip() for kind in types.split(" or ") if kind.strip()]
    nullable = "None" in kinds
    kinds = [kind for kind in kinds if kind != "None"]
    interval, choices = None, ()
    if strict:
        if found := _INTERVAL.match(rest):
            interval = (found["left"], float(found["low"]), float(found["high"]), found["right"])
        elif found := _CHOICES.match(rest):
            choices = tuple(word.strip() for word in found["choices"].split(","))
        rest = rest[found.end() :] if found else rest
    else:
        nullable = nullable or default is None
        kinds = _kinds_of_recbole(kinds, default)
        interval = _usual_interval(name)
    return Key(name, default, tuple(kinds), nullable, interval, choices, rest, path)


def _kinds_of_recbole(kinds: list[str], default: Any) -> list[str]:
    """The declared types that are types, preceded by the default's own where they would change the default."""
    kinds = [kind for kind in kinds if kind.removeprefix("list of ") in ("str", "int", "float", "bool", "dict", "list")]
    kept = [_convert(kind, default) for kind in kinds]
    if default is None or any(type(value) is type(default) and value == default for value in kept[:1]):
        return kinds
    return [type(default).__name__, *kinds]


def _usual_interval(name: str) -> tuple[str, float, float, str] | None:
    """The range that a size or a probability of RecBole's models has, going by its name."""
    if name.endswith("_size") or name in ("n_layers", "num_layers", "n_heads", "step", "block_num"):
        return ("[", 1.0, 65536.0, "]")
    return ("[", 0.0, 1.0, ")") if "dropout" in name else None


def keys_in_source(model_class: type) -> set[str]:
    """Names that a model's source files read as ``config["name"]``: some of RecBole's models read keys that their
    property file does not list. RecBole's base classes, which serve other kinds of models too, are left out."""
    modules = {cls.__module__ for cls in model_class.__mro__ if hasattr(cls, "calculate_loss")}
    modules.discard("recbole.model.abstract_recommender")
    return {name for module in modules for name in _READ_KEY.findall(_source(module))}


def _source(module: str) -> str:
    try:
        return inspect.getsource(sys.modules[module])
    except (OSError, TypeError):
        return ""


class RecordingConfig:
    """A configuration that remembers which keys were read from it.

    Args:
        config: the configuration to read from.
    """

    def __init__(self, config):
        self.config = config
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return self.config[key]

    def __contains__(self, key: str) -> bool:
        self.read.add(key)
        return key in self.config

    def __setitem__(self, key: str, value: Any) -> None:
        self.config[key] = value


def keys_read_by(model_class: type, config, dataset) -> set[str]:
    """Every configuration key that constructing a model reads.

    Args:
        model_class: a RecBole model.
        config: a configuration that is complete for it.
        dataset: what the model's constructor takes as its data set.
    """
    recording = RecordingConfig(config)
    model_class(recording, dataset)
    return recording.read
