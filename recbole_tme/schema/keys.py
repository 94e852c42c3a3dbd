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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
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
        if self.choices and "list of str" in self.types and isinstance(value, str):
            # Words have no commas: --metrics=Hit,MRR is a list of them.
            value = [word.strip() for word in value.split(",")] if "," in value else value
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
            return words[value.lower()] if isinstance(value, str) else value
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{where}: {self.name} must be a finite number, not {value}")
        if self.interval and isinstance(value, (int, float)) and not isinstance(value, bool):
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
    keys = {}
    for name, default, where, comment in _declarations(path):
        if strict and comment is None:
            raise UserError(f"{where}: {name} needs a comment # (type) ...")
        types, rest = comment or ("", "")
        keys[name] = _key(name, default, types, rest, path, strict, where)
    return keys


def plugin_keys(path: Path, inherited: Mapping[str, Key]) -> dict[str, Key]:
    """The keys that a third party's property file declares.

    A key with a comment in our style is what the comment says, in the range of the key that it replaces where it gives
    none; one without a comment has the type and range of that key, else those that its default and name let expect.

    Args:
        path: the property file.
        inherited: the keys that the model has without this file, by name.

    Raises:
        UserError: as :func:`property_keys`; or a default is not of its type or out of its range.
    """
    path = Path(path)
    keys = {}
    for name, default, where, comment in _declarations(path):
        if comment is not None:
            key = _key(name, default, *comment, path, True, where)
            before = inherited.get(name)
            if before is not None and not key.range and key.types == before.types:
                key = replace(key, interval=before.interval, choices=before.choices)
        elif name in inherited:
            key = replace(inherited[name], source=path)
        else:
            key = undescribed_key(name, default, path)
        keys[name] = replace(key, default=key.check(default, where))
    return keys


def undescribed_key(name: str, default: Any, source: Path) -> Key:
    """A key that is declared by its default alone: of its type, any number for a whole one; None takes anything."""
    kind = type(default).__name__
    types = () if default is None else ("int", "float") if kind == "int" else (kind,)
    return Key(name, default, types, default is None, _usual_interval(name), (), "", source)


def _declarations(path: Path) -> Iterator[tuple[str, Any, str, tuple[str, str] | None]]:
    """Name, default, place and comment (its types and the rest) of each key of a property file."""
    values, nodes = read_nodes(path)
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold key: value lines, not a {type(values).__name__}")
    text = path.read_text(encoding="utf-8-sig").splitlines()
    for key_node, value_node in nodes:
        name, where = key_node.value, f"{path}:{key_node.start_mark.line + 1}"
        if not isinstance(name, str) or name not in values:
            raise UserError(f"{where}: the key {name!r} is not a name; quote it if it is meant as one")
        line = text[key_node.start_mark.line]
        on_this_line = value_node.end_mark.line == key_node.start_mark.line
        match = _COMMENT.search(line[(value_node if on_this_line else key_node).end_mark.column :])
        comment = (match["types"], match["rest"].strip()) if match else None
        yield name, values[name], where, comment


def _key(name: str, default: Any, types: str, rest: str, path: Path, strict: bool, where: str) -> Key:
    kinds = [kind.strip() for kind in types.split(" or ") if kind.strip()]
    nullable = "None" in kinds
    kinds = [kind for kind in kinds if kind != "None"]
    interval: tuple[str, float, float, str] | None = None
    choices: tuple[str, ...] = ()
    if strict:
        unknown = [kind for kind in kinds if not _is_type(kind)]
        if unknown or not (kinds or nullable):
            raise UserError(f"{where}: {name}: ({types}) is no type; write str, int, float, bool, dict or list")
        if found := _INTERVAL.match(rest):
            interval = _interval(found, f"{where}: {name}")
        elif found := _CHOICES.match(rest):
            choices = tuple(word.strip() for word in found["choices"].split(","))
        rest = rest[found.end() :] if found else rest
    else:
        nullable = nullable or default is None
        kinds = _kinds_of_recbole(kinds, default)
        interval = _usual_interval(name)
    return Key(name, default, tuple(kinds), nullable, interval, choices, rest, path)


def _is_type(kind: str) -> bool:
    return kind.removeprefix("list of ") in ("str", "int", "float", "bool", "dict", "list")


def _interval(found: re.Match, where: str) -> tuple[str, float, float, str]:
    """The interval that a comment gives.

    Raises:
        UserError: one of its ends is no number.
    """
    try:
        return found["left"], float(found["low"]), float(found["high"]), found["right"]
    except ValueError:
        raise UserError(f"{where}: {found[0].strip()} is no range of numbers; write one such as [0, 1)") from None


def _kinds_of_recbole(kinds: list[str], default: Any) -> list[str]:
    """The declared types that are types, preceded by the default's own where they would change the default."""
    kinds = [kind for kind in kinds if _is_type(kind)]
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
    """Names that the source files of RecBole's models among a class's ancestors read as ``config["name"]``: some read
    keys that their property file does not list. RecBole's base classes, which serve other kinds of models too, are left
    out."""
    modules = {cls.__module__ for cls in model_class.__mro__ if hasattr(cls, "calculate_loss")}
    modules = {module for module in modules if module.startswith("recbole.")}
    modules.discard("recbole.model.abstract_recommender")
    return {name for module in modules for name in _READ_KEY.findall(_source(module))}


def _source(module: str) -> str:
    try:
        return inspect.getsource(sys.modules[module])
    except (OSError, TypeError):
        return ""
