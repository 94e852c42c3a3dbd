"""The items of a model to look through: popular ones first, by words of their title or by their id."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator

import numpy as np

from recbole_tme.serving.recommender import Recommender


class Catalogue:
    """Items in order of popularity, as one text with a line per item: a search is a scan of it at memory speed.

    Args:
        recommender: whose items they are.
    """

    def __init__(self, recommender: Recommender):
        self._items, self._titles, self._clicks = recommender.items, recommender.titles, recommender.clicks
        self._order = np.argsort(-self._clicks, kind="stable")
        lines = [_plain(f"{self._titles.get(self._items[i], '')} {self._items[i]}") for i in self._order]
        self._text = "\n".join(lines)
        self._starts = list(itertools.accumulate((len(line) + 1 for line in lines), initial=0))
        self._line = {self._items[i]: line for line, i in enumerate(self._order)}

    def search(self, words: str, offset: int, limit: int) -> tuple[list[dict], bool]:
        """A page of the items whose title or id holds some words, letters large or small; the item of just this id
        comes first, the others by popularity.

        Returns:
            The items (``item``, ``title`` or None, ``clicks``) and whether there are more.
        """
        lines = list(itertools.islice(self._matches(words), offset, offset + limit + 1))
        return [self._entry(line) for line in lines[:limit]], len(lines) > limit

    def _matches(self, words: str) -> Iterator[int]:
        exact = self._line.get(words)
        if exact is not None:
            yield exact
        yield from (line for line in self._scan(_plain(words)) if line != exact)

    def _scan(self, wanted: str) -> Iterator[int]:
        if not wanted:
            yield from range(len(self._order))
            return
        found = self._text.find(wanted)
        while found >= 0:
            line = bisect_right(self._starts, found) - 1
            yield line
            found = self._text.find(wanted, self._starts[line + 1])

    def _entry(self, line: int) -> dict:
        place = self._order[line]
        item = self._items[place]
        return {"item": item, "title": self._titles.get(item), "clicks": int(self._clicks[place])}


def _plain(text: str) -> str:
    """Text in small letters on one line."""
    return " ".join(text.casefold().split())
