"""Which keys a model's configuration has: what RecBole, this package and the model's own files declare."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

from recbole_tme.errors import PluginError
from recbole_tme.models import registry
from recbole_tme.models.builtin import discovery
from recbole_tme.schema.keys import Key, keys_in_source, plugin_keys, property_keys, undescribed_key
from recbole_tme.schema.property_files import properties_root

_PLAIN = (str, int, float, bool, list, dict, type(None))


def known_keys(model_class: type) -> dict[str, Key]:
    """Every key that may be set for a model: the declared ones and those that only RecBole's source reads."""
    source = registry.source_file(model_class)
    read = {name: Key(name, None, (), True, None, (), "", source) for name in keys_in_source(model_class)}
    return read | declared_keys(model_class)


def declared_keys(model_class: type) -> dict[str, Key]:
    """Every key of a model's configuration by name; where files declare the same key, the one with precedence.

    Raises:
        UserError: a property file is broken.
    """
    return base_keys() | model_keys(model_class)


def model_keys(model_class: type) -> dict[str, Key]:
    """The keys of a model's own property file, or ``defaults`` for a third party's, over those it inherits; for some of
    RecBole's models also ours.

    Raises:
        UserError: a property file is broken, or a third party's default is not what it declares or inherits.
    """
    keys: dict[str, Key] = {}
    for cls in registry.lineage(model_class):
        path = registry.property_file(cls)
        if cls.__module__.startswith("recbole_tme."):
            keys |= {} if path is None else property_keys(path)
        elif discovery.is_builtin(cls):
            keys |= {} if path is None else property_keys(path, strict=False)
        else:
            keys |= _foreign_keys(cls, path, base_keys() | keys)
        if discovery.has_plain_softmax(cls):
            keys |= property_keys(properties_root() / "model" / "PlainSoftmax.yaml")
    return keys


@functools.lru_cache(maxsize=1)
def all_keys() -> frozenset[str]:
    """Every key that RecBole, this package or one of its models declares."""
    files = [*(properties_root() / "model").glob("*.yaml"), *(discovery.root() / "properties" / "model").glob("*.yaml")]
    return frozenset(base_keys()).union(*(property_keys(file, strict=False) for file in files), ("model", "dataset"))


@functools.lru_cache(maxsize=1)
def base_keys() -> dict[str, Key]:
    """The keys that every model has: RecBole's and ours."""
    recbole = discovery.root() / "properties"
    return {
        **property_keys(recbole / "overall.yaml", strict=False),
        **property_keys(recbole / "dataset" / "sample.yaml", strict=False),
        **property_keys(properties_root() / "overall.yaml"),
    }


def _foreign_keys(cls: type, path: Path | None, inherited: dict[str, Key]) -> dict[str, Key]:
    """What a third party's class declares itself: its class attribute ``defaults``, then the file beside it.

    A default without a type of its own has the type and range of the key that it replaces.
    """
    source = registry.source_file(cls)
    keys = {}
    for name, value in _defaults_of(cls, source).items():
        key = replace(inherited[name], source=source) if name in inherited else undescribed_key(name, value, source)
        keys[name] = replace(key, default=key.check(value, f"{source}: class {cls.__name__}: defaults"))
    return keys if path is None else keys | plugin_keys(path, inherited | keys)


def _defaults_of(cls: type, source: Path) -> dict[str, Any]:
    defaults = vars(cls).get("defaults", {})
    where = f"{source}: class {cls.__name__}: defaults"
    if not isinstance(defaults, dict) or not all(isinstance(name, str) for name in defaults):
        raise PluginError(f"{where} must be a dict of key: value, not {defaults!r:.100}")
    for name, value in defaults.items():
        if not isinstance(value, _PLAIN):
            raise PluginError(f"{where}: {name} must be a number, a word, a list or a dict, not {type(value).__name__}")
    return defaults
