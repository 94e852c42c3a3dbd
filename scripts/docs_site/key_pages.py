"""Settings, and RecBole's keys one by one, from the property files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from page_tables import table

from recbole_tme.config.ignored_keys import REPLACED, instead
from recbole_tme.models.builtin import discovery
from recbole_tme.schema.keys import Key, property_keys
from recbole_tme.schema.property_files import properties_root


def key_table(keys: Iterable[Key]) -> str:
    """Name, default, values and meaning of keys."""
    rows = [[f"`{key.name}`", _default(key), _values(key), key.help] for key in keys]
    return table(["key", "default", "values", "meaning"], rows)


def settings_page() -> str:
    """The keys of every run and of every session model."""
    parts = [
        "# Settings",
        "A setting is written `--key=value` on the command line, `key: value` in a YAML file and `key=value` in "
        "Python. They come, from low to high precedence, from RecBole, the package's defaults below, the model's file, "
        "the data set's file, `--config_files`, and the command line. An unknown key and an impossible value are "
        "errors that name the nearest valid one. `recbole-tme list keys MODEL` prints the keys of one model.",
    ]
    overall = property_keys(properties_root() / "overall.yaml")
    for heading, names in _sections():
        parts.append(f"## {heading}\n\n{key_table(overall[name] for name in names)}")
    shared = property_keys(properties_root() / "model" / "SessionRecommender.yaml")
    parts.append(f"## Session models\n\nOur trained models have these as well.\n\n{key_table(shared.values())}")
    plain = property_keys(properties_root() / "model" / "PlainSoftmax.yaml")
    parts.append(
        "## RecBole's models with a plain softmax\n\n"
        f"{', '.join(discovery.PLAIN_SOFTMAX)} have these as well.\n\n{key_table(plain.values())}"
    )
    return "\n\n".join(parts) + "\n"


def recbole_keys() -> str:
    """Every key of RecBole's own property files, and what it is here."""
    ours = property_keys(properties_root() / "overall.yaml")
    rows = []
    for file in (discovery.root() / "properties" / "overall.yaml", discovery.root() / "properties/dataset/sample.yaml"):
        for name, key in property_keys(file, strict=False).items():
            rows.append([f"`{name}`", _fate(name, key, ours)])
    return table(["RecBole's key", "here"], rows)


def _fate(name: str, key: Key, ours: dict[str, Key]) -> str:
    if name in REPLACED:
        return f"an error when set; {instead(REPLACED[name])}"
    if name not in ours:
        return "as in RecBole"
    here = ours[name]
    same = str(here.default) == str(key.default)
    default = "the same default" if same else f"default {_default(here)} instead of {_default(key)}"
    return f"{default}; {here.help}"


def _sections() -> Iterator[tuple[str, list[str]]]:
    """The headings of overall.yaml, each with the keys below it."""
    heading, names = "", []
    for line in (properties_root() / "overall.yaml").read_text(encoding="utf-8").splitlines():
        if line.startswith("# ") and len(line) < 40:
            if names:
                yield heading, names
            heading, names = line.removeprefix("# "), []
        elif found := re.match(r"(\w+):", line):
            names.append(found[1])
    yield heading, names


def _default(key: Key) -> str:
    return "none" if key.default is None else f"`{key.default}`"


def _values(key: Key) -> str:
    types = " or ".join([*key.types, *(["none"] if key.nullable else [])])
    if key.choices:
        return ", ".join(f"`{choice}`" for choice in key.choices)
    return f"{types}, {key.range}" if key.range else types
