"""YAML settings files, read strictly: the line of each key is known, and a key given twice is an error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from recbole_tme.errors import UserError

# RecBole's float, which unlike YAML 1.1's takes 1e-3 and 5e4.
_FLOAT = re.compile(
    r"""^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
    |\.[0-9_]+(?:[eE][-+]?[0-9]+)?
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)


# Far more than settings need. An alias counts as all that it stands for: nested, a few hundred bytes stand for more
# values than there is memory.
MOST_BYTES = 2**22
MOST_VALUES = 100_000
DEEPEST = 64


class SettingsLoader(yaml.SafeLoader):
    """Plain YAML with RecBole's floats, without dates, and with an error for a key that is given twice.

    What is too large, nested too deeply, or by its aliases larger than it looks, is refused.
    """

    def __init__(self, stream):
        super().__init__(stream)
        self._sizes: dict[int, int] = {}
        self._depth = 0

    def compose_node(self, parent, index):
        event = self.peek_event()
        mark, is_alias = event.start_mark, isinstance(event, yaml.AliasEvent)
        self._depth += 1
        if self._depth > DEEPEST:
            raise yaml.composer.ComposerError(None, None, f"more than {DEEPEST} levels of nesting", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if id(node) not in self._sizes:
            if is_alias:
                raise yaml.composer.ComposerError(None, None, "an alias of what it is part of", mark)
            self._sizes[id(node)] = 1 + sum(self._sizes[id(child)] for child in _children(node))
        if self._sizes[id(node)] > MOST_VALUES:
            raise yaml.composer.ComposerError(None, None, f"more than {MOST_VALUES:,} values, aliases counted", mark)
        return node

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"key {key.value!r} is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _children(node) -> list:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


SettingsLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":float", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
SettingsLoader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def parse_value(text: str) -> Any:
    """A command line value as a YAML scalar or flow collection; ``None`` is null.

    Nothing is evaluated; text that is not YAML, such as an unclosed bracket, is a string.
    """
    if text == "None":
        return None
    try:
        # A safe loader, with bounds.
        return yaml.load(text, Loader=SettingsLoader) if text.strip() else ""  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def flow_text(value: Any) -> str:
    """A value as a command line gives it: a text as it is, which a key of texts takes as typed, anything else as
    :func:`parse_value` reads it back."""
    if isinstance(value, str):
        return value
    if value is None:
        return "None"
    return str(yaml.safe_dump(value, default_flow_style=True, width=10**6)).partition("\n...")[0].strip()


@dataclass(frozen=True)
class SettingsFile:
    """Settings of one YAML file and the 1-based line of each key."""

    path: Path
    values: dict[str, Any]
    lines: dict[str, int]


def read_settings(path: Path) -> SettingsFile:
    """Read a YAML file of ``key: value`` settings.

    Raises:
        UserError: the file is missing, unreadable, broken (names the line), empty or not a mapping of names.
    """
    values, nodes = read_nodes(path)
    if values is None:
        raise UserError(f"{path} is empty; write key: value lines or leave the file out")
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold key: value lines, not a {type(values).__name__}")
    for key in values:
        if not isinstance(key, str):
            raise UserError(f"{path}: the key {key!r} is not a name; quote it if it is meant as one")
    return SettingsFile(Path(path), values, {key.value: key.start_mark.line + 1 for key, _ in nodes})


def read_nodes(path: Path) -> tuple[Any, list]:
    """A YAML file's content, and the ``(key, value)`` nodes of its outermost mapping, which know their lines.

    Raises:
        UserError: the file is missing, unreadable or not YAML (names the line).
    """
    try:
        if Path(path).stat().st_size > MOST_BYTES:
            raise UserError(f"{path} has more than {MOST_BYTES // 2**20} MB; settings are shorter")
        loader = SettingsLoader(Path(path).read_text(encoding="utf-8-sig"))
        node = loader.get_single_node()
        values = None if node is None else loader.construct_document(node)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or type(error).__name__
        raise UserError(f"{where}: not valid YAML: {problem}") from error
    return values, node.value if isinstance(values, dict) else []
