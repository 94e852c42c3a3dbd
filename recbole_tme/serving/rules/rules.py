"""What a shop asks of every list: what may be in it, what is to come first, and how much alike it may be."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from recbole_tme.errors import UserError
from recbole_tme.schema.yamlfile import parse_value, read_nodes
from recbole_tme.utils.spelling import did_you_mean

# Ids of a list, and conditions of a boost.
MOST_IDS, MOST_BOOSTS = 100_000, 100
# A query, or external ids.
Condition = str | tuple[str, ...]


@dataclass(frozen=True)
class Rules:
    """Rules of a list of recommendations.

    Where they meet, what is left out stays out: ``deny``, ``allow`` and ``exclude_seen`` go before ``pin``, and
    ``pin`` before ``max_per`` and ``diversity``.

    Attributes:
        allow: only these items; a query over item columns or external ids. None for all.
        deny: none of these items.
        boost: conditions and factors above 0. A factor multiplies the chance of its items: the score of a count or a
            similarity is multiplied, to that of a network its logarithm is added. Factors of several conditions
            multiply.
        pin: items that come first, in this order.
        max_per: at most so many items of each value of a column; items without a value are not counted.
        diversity: from 0 to 1: how much of an item's place depends on its being unlike those before it (maximal
            marginal relevance over item vectors, Carbonell & Goldstein, SIGIR 1998).
        exclude_seen: leave out the items of the session itself.
    """

    allow: Condition | None = None
    deny: Condition | None = None
    boost: tuple[tuple[Condition, float], ...] = ()
    pin: tuple[str, ...] = ()
    max_per: tuple[tuple[str, int], ...] = ()
    diversity: float = 0.0
    exclude_seen: bool = False

    @classmethod
    def of(cls, content: Rules | Mapping[str, Any], folder: Path | None = None) -> Rules:
        """Rules from plain data, as they stand in JSON and YAML.

        Args:
            content: the attributes; ``boost`` is a list of ``{"where": QUERY or IDS, "factor": NUMBER}`` and
                ``max_per`` a mapping of column to number.
            folder: where files lie that are named as ``"@FILE"`` in the place of a list, with an id per line; None
                allows none, for rules of strangers.

        Raises:
            UserError: names the field.
        """
        if isinstance(content, Rules):
            return content
        if not isinstance(content, Mapping):
            raise UserError(f"rules: must be a mapping such as {{deny: [item]}}, not {_short(content)}")
        known = [field.name for field in fields(cls)]
        for name in content:
            if name not in known:
                hint = did_you_mean(str(name), known)
                raise UserError(f"rules: there is no {_short(name)}{hint}; there are {', '.join(known)}")
        given = {name: value for name, value in content.items() if value is not None}
        read = {name: _READ[name](f"rules.{name}", value, folder) for name, value in given.items()}
        return cls(**read)

    @classmethod
    def given(cls, text: str) -> Rules:
        """Rules of a command line: the name of a file, or themselves in braces.

        Raises:
            UserError: as :meth:`read` and :meth:`of`.
        """
        if not text.lstrip().startswith("{"):
            return cls.read(Path(text))
        return cls.of(parse_value(text), Path())

    @classmethod
    def read(cls, file: Path) -> Rules:
        """Rules in a file of YAML or JSON.

        Raises:
            UserError: it cannot be read or holds something else; names the file and the field.
        """
        content, _ = read_nodes(file)
        try:
            return cls.of({} if content is None else content, file.parent)
        except UserError as error:
            raise UserError(f"{file}: {error}") from error


def _ids(name: str, value: Any, folder: Path | None) -> tuple[str, ...]:
    if isinstance(value, str) and value.startswith("@") and folder is not None:
        file = folder / value[1:]
        try:
            value = file.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise UserError(f"{name}: {file} cannot be read ({reason}); write an item id per line into it") from error
        value = [line.strip() for line in value if line.strip()]
    if not isinstance(value, (list, tuple)):
        raise UserError(f"{name}: must be a list of item ids, not {_short(value)}")
    if len(value) > MOST_IDS:
        raise UserError(f"{name}: has {len(value)} ids; at most {MOST_IDS} are allowed, a query may say more")
    for one in value:
        if isinstance(one, bool) or not isinstance(one, (str, int)):
            raise UserError(f"{name}: {_short(one)} is no item id; write text or a whole number")
    return tuple(map(str, value))


def _condition(name: str, value: Any, folder: Path | None) -> Condition:
    if isinstance(value, str) and not (value.startswith("@") and folder is not None):
        return value
    return _ids(name, value, folder)


def _boosts(name: str, value: Any, folder: Path | None) -> tuple[tuple[Condition, float], ...]:
    if not isinstance(value, list) or len(value) > MOST_BOOSTS:
        raise UserError(f"{name}: must be a list of at most {MOST_BOOSTS} of {{where: ..., factor: ...}}")
    found = []
    for i, one in enumerate(value):
        if not isinstance(one, Mapping) or set(one) != {"where", "factor"}:
            raise UserError(f"{name}.{i}: must have where and factor and nothing else")
        factor = _number(f"{name}.{i}.factor", one["factor"])
        if not 1e-6 <= factor <= 1e6:
            raise UserError(f"{name}.{i}.factor: must be from 1e-06 to 1e+06; deny leaves items out")
        found.append((_condition(f"{name}.{i}.where", one["where"], folder), factor))
    return tuple(found)


def _max_per(name: str, value: Any, _) -> tuple[tuple[str, int], ...]:
    if not isinstance(value, Mapping):
        raise UserError(f"{name}: must be a mapping of column to number such as {{brand: 2}}, not {_short(value)}")
    for column, most in value.items():
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise UserError(f"{name}.{_short(column)}: must be a whole number from 1, not {_short(most)}")
    return tuple((str(column), most) for column, most in value.items())


def _diversity(name: str, value: Any, _) -> float:
    number = _number(name, value)
    if not 0 <= number <= 1:
        raise UserError(f"{name}: must be from 0 to 1, not {number:g}")
    return number


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UserError(f"{name}: must be a number, not {_short(value)}")
    return float(value)


def _flag(name: str, value: Any, _) -> bool:
    if not isinstance(value, bool):
        raise UserError(f"{name}: must be true or false, not {_short(value)}")
    return value


def _short(value: Any) -> str:
    return json.dumps(value, default=str)[:40]


_READ = {
    "allow": _condition,
    "deny": _condition,
    "boost": _boosts,
    "pin": _ids,
    "max_per": _max_per,
    "diversity": _diversity,
    "exclude_seen": _flag,
}

# None, one set of rules, or several that hold together.
GivenRules = Rules | Mapping[str, Any] | Sequence[Rules] | None
