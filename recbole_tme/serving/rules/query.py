"""Conditions on item columns, such as ``category = 'shoes' and price < 50``.

Comparisons ``= != < <= > >=``, ``in (...)``, ``contains 'word'`` for columns of several words, ``is null``, and
``not``, ``and``, ``or`` with parentheses. Text stands in single or double quotes (doubled inside), a column with odd
signs in backquotes. An item that has no value in a column meets no comparison with it, and ``not`` turns that round.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from recbole_tme.errors import UserError
from recbole_tme.serving.rules.columns import Column, ItemColumns
from recbole_tme.utils.spelling import did_you_mean

# Characters of a query, and parentheses in one another.
LONGEST, DEEPEST = 10_000, 50

_TOKEN = re.compile(
    r"\s*(?:(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?![\w.])"
    r"|(?P<text>'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\")|(?P<quoted>`[^`]+`)"
    r"|(?P<sign><=|>=|!=|<>|==|[=<>(),])|(?P<word>[^\W\d]\w*))"
)
_COMPARED = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_RESERVED = {"and", "or", "not", "in", "is", "null", "contains"}


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    place: int

    def is_(self, *texts: str) -> bool:
        """Whether it is one of some words or signs."""
        return self.kind in ("word", "sign") and self.text.lower() in texts


def matching(query: str, columns: ItemColumns, n_items: int) -> np.ndarray:
    """Which items of the catalogue meet a condition.

    Args:
        query: the condition.
        columns: of the catalogue.
        n_items: N.

    Returns:
        bool ``[N]``.

    Raises:
        UserError: the query does not parse, or names an unknown column; names the position, counted from 1.
    """
    return _Reader(query, columns, n_items).whole()


class _Reader:
    """Reads and answers a query from left to right."""

    def __init__(self, query: str, columns: ItemColumns, n_items: int):
        if len(query) > LONGEST:
            raise UserError(f"query: has {len(query)} characters; at most {LONGEST} are allowed")
        self._columns, self._n_items = columns, n_items
        self._tokens, self._next, self._depth = _tokens(query), 0, 0

    def whole(self) -> np.ndarray:
        found = self._any()
        if self._token.kind != "end":
            raise _problem(self._token, "expected and, or, or the end")
        return found

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._token
        self._next += 1
        return token

    def _any(self) -> np.ndarray:
        found = self._all()
        while self._token.is_("or"):
            self._take()
            found = found | self._all()
        return found

    def _all(self) -> np.ndarray:
        found = self._one()
        while self._token.is_("and"):
            self._take()
            found = found & self._one()
        return found

    def _one(self) -> np.ndarray:
        self._depth += 1
        if self._depth > DEEPEST:
            raise _problem(self._token, f"more than {DEEPEST} levels")
        if self._token.is_("not"):
            self._take()
            found = ~self._one()
        elif self._token.is_("("):
            self._take()
            found = self._any()
            self._expect(")")
        else:
            found = self._comparison()
        self._depth -= 1
        return found

    def _comparison(self) -> np.ndarray:
        name = self._take()
        if name.kind not in ("word", "quoted") or name.text.lower() in _RESERVED:
            raise _problem(name, "expected a column")
        column = self._columns.columns.get(name.text.strip("`"))
        if column is None:
            names = list(self._columns.columns)
            there = ", ".join(names)[:200] or "none; name a table of items with --items"
            hint = did_you_mean(name.text, names)
            raise _problem(name, f"there is no such column (the columns: {there}){hint}")
        sign = self._take()
        if sign.is_("is"):
            is_not = self._token.is_("not")
            if is_not:
                self._take()
            self._expect("null")
            return (column.codes >= 0) if is_not else (column.codes < 0)
        if sign.is_("contains"):
            wanted = self._value("text").casefold()
            return _of_values(column, lambda value: wanted in value.casefold().split())
        if sign.is_("=", "=="):
            return self._equal(column, self._take())
        if sign.is_("!=", "<>"):
            return (column.codes >= 0) & ~self._equal(column, self._take())
        is_not = sign.is_("not")
        if is_not:
            sign = self._take()
        if sign.is_("in"):
            found = self._in(column)
            return (column.codes >= 0) & ~found if is_not else found
        if is_not or sign.text not in _COMPARED:
            raise _problem(sign, "expected =, !=, <, <=, >, >=, in, contains or is")
        if column.numbers is None:
            raise _problem(sign, f"the column {name.text} has values that are no numbers; compare it with = or in")
        with np.errstate(invalid="ignore"):
            return _COMPARED[sign.text](column.numbers, float(self._value("number")))

    def _in(self, column: Column) -> np.ndarray:
        self._expect("(")
        found = self._equal(column, self._take())
        while self._token.is_(","):
            self._take()
            found = found | self._equal(column, self._take())
        self._expect(")")
        return found

    def _equal(self, column: Column, value: _Token) -> np.ndarray:
        if value.kind not in ("text", "number"):
            raise _problem(value, "expected a number or a text in quotes")
        if value.kind == "number" and column.numbers is not None:
            return column.numbers == float(value.text)
        code = column.code.get(_plain(value))
        return np.zeros(self._n_items, dtype=bool) if code is None else column.codes == code

    def _value(self, kind: str) -> str:
        token = self._take()
        if token.kind != kind:
            raise _problem(token, "expected a number" if kind == "number" else "expected a text in quotes")
        return _plain(token)

    def _expect(self, text: str) -> None:
        if not self._token.is_(text):
            raise _problem(self._token, f"expected {text}")
        self._take()


def _of_values(column: Column, meets: Callable[[str], bool]) -> np.ndarray:
    # The last one stands for items without a value.
    return np.array([meets(value) for value in column.values] + [False])[column.codes]


def _plain(token: _Token) -> str:
    if token.kind != "text":
        return token.text
    quote = token.text[0]
    return token.text[1:-1].replace(quote * 2, quote)


def _tokens(query: str) -> list[_Token]:
    found, place = [], 0
    end = len(query.rstrip())
    while place < end:
        match = _TOKEN.match(query, place)
        if match is None:
            start = place + len(query[place:]) - len(query[place:].lstrip())
            shown = query[start : start + 10]
            raise UserError(f"query: position {start + 1}: {shown!r} is neither word, number nor sign")
        found.append(_Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
        place = match.end()
    return [*found, _Token("end", "", end)]


def _problem(token: _Token, line: str) -> UserError:
    what = f"at {token.text[:40]!r}" if token.kind != "end" else "at its end"
    return UserError(f"query: position {token.place + 1}, {what}: {line}")
