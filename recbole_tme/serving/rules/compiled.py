"""Rules put into numbers for one catalogue, and the lists that they make of scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recbole_tme.errors import UserError
from recbole_tme.serving.rules.columns import ItemColumns
from recbole_tme.serving.rules.query import matching
from recbole_tme.serving.rules.rules import Condition, Rules
from recbole_tme.serving.selection import top_k
from recbole_tme.utils.spelling import did_you_mean

# Items among which diverse ones are looked for: so many times k, but no fewer than ...
POOL, SMALLEST_POOL = 5, 100


@dataclass(frozen=True)
class CompiledRules:
    """Rules of one catalogue of N items; made by :func:`compiled`.

    Attributes:
        allowed: bool ``[N]``, or None where everything is.
        factors: float32 ``[N]``, or None where nothing is boosted.
        pins: places of pinned items that may be shown, in their order.
        limits: the number of each item's group, int32 ``[N]``, -1 for none, and how many of a group there may be.
        diversity: from 0 to 1.
        exclude_seen: leave out the session's own items.
        notes: what could not be done, in words.
    """

    allowed: np.ndarray | None
    factors: np.ndarray | None
    pins: np.ndarray
    limits: tuple[tuple[np.ndarray, int], ...]
    diversity: float
    exclude_seen: bool
    notes: tuple[str, ...]

    def best(
        self, row: np.ndarray, k: int, seen: np.ndarray, are_logs: bool, vectors: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The list that the rules make of one session's scores.

        Args:
            row: float32 ``[N]``; may be changed.
            k: items wanted.
            seen: places of the session's items.
            are_logs: whether the scores are logarithms of chances up to a constant, to which the factors' logarithms
                are added, and not amounts, which are multiplied.
            vectors: gives item vectors of length 1 of some places, ``[m]`` -> ``[m, d]``.

        Returns:
            Places of at most k items and their scores, boosts included.

        Raises:
            UserError: the scores hold NaN.
        """
        if self.factors is not None:
            row = row + np.log(self.factors) if are_logs else row * self.factors
        allowed = self._allowed_here(len(row), seen)
        n_allowed = len(row) if allowed is None else int(np.count_nonzero(allowed))
        pins = self.pins if allowed is None else self.pins[allowed[self.pins]]
        chosen = _Chosen(k, [(groups, most) for groups, most in self.limits], pins)
        n = k + len(pins)
        if self.diversity:
            pool = _first(row, allowed, min(n_allowed, max(SMALLEST_POOL, POOL * n)))
            chosen.add_diverse(pool, row[pool], self.diversity, vectors)
        while not chosen.full:
            n = min(n, n_allowed)
            chosen.add(_first(row, allowed, n))
            if n == n_allowed:
                break
            n *= 4
        places = np.array(chosen.places, dtype=np.int64)
        return places, row[places]

    def _allowed_here(self, n_items: int, seen: np.ndarray) -> np.ndarray | None:
        if not (self.exclude_seen and len(seen)):
            return self.allowed
        allowed = np.ones(n_items, dtype=bool) if self.allowed is None else self.allowed.copy()
        allowed[seen] = False
        return allowed


class _Chosen:
    """A list that fills up, with at most so many items of a group; pinned ones are in it first."""

    def __init__(self, k: int, limits: Sequence[tuple[np.ndarray, int]], pins: np.ndarray):
        self._k, self._limits = k, limits
        self._counts: list[dict[int, int]] = [{} for _ in limits]
        self.places: list[int] = []
        self._taken: set[int] = set()
        for place in pins[:k].tolist():
            self._take(place)

    @property
    def full(self) -> bool:
        return len(self.places) >= self._k

    def add(self, order: np.ndarray) -> None:
        """Take items in this order until the list is full."""
        for place in order.tolist():
            if self.full:
                return
            if self.fits(place):
                self._take(place)

    def fits(self, place: int) -> bool:
        return place not in self._taken and all(
            groups[place] < 0 or counts.get(int(groups[place]), 0) < most
            for (groups, most), counts in zip(self._limits, self._counts)
        )

    def add_diverse(self, pool: np.ndarray, scores: np.ndarray, diversity: float, vectors: Callable) -> None:
        """Take the item with the best mix of score and unlikeness until the list is full or none fits."""
        finite = np.isfinite(scores)
        low, high = (scores[finite].min(), scores[finite].max()) if finite.any() else (0.0, 0.0)
        worth = np.clip(np.where(finite, scores - low, scores), 0, high - low) / max(float(high - low), 1e-12)
        unit = vectors(pool)
        nearest = np.zeros(len(pool), dtype=np.float32)
        if self.places:
            nearest = (unit @ vectors(np.array(self.places)).T).max(axis=1)
        free = np.array([self.fits(place) for place in pool.tolist()])
        while not self.full and free.any():
            mixed = np.where(free, (1 - diversity) * worth - diversity * nearest, -np.inf)
            best = int(mixed.argmax())
            self._take(int(pool[best]))
            first = len(self.places) == 1
            likeness = unit @ unit[best]
            nearest = likeness if first else np.maximum(nearest, likeness)
            free[best] = False
            if self._limits:
                free &= np.array([self.fits(place) for place in pool.tolist()])

    def _take(self, place: int) -> None:
        self.places.append(place)
        self._taken.add(place)
        for (groups, _), counts in zip(self._limits, self._counts):
            group = int(groups[place])
            counts[group] = counts.get(group, 0) + 1


def _first(row: np.ndarray, allowed: np.ndarray | None, n: int) -> np.ndarray:
    """Places of the best n allowed items, by score and then by number; there are so many."""
    if n == 0:
        return np.arange(0)
    if allowed is None:
        return next(iter(top_k(row[None], n)))[0]
    places, scores = next(iter(top_k(np.where(allowed, row, -np.inf).astype(np.float32)[None], n)))
    if scores[-1] > -np.inf:
        return places
    # Allowed items that are impossible to the model fill the list up.
    places = np.flatnonzero(allowed)
    return places[np.lexsort((places, -row[places]))][:n]


def compiled(
    rules: Sequence[Rules], items: Sequence[str], number: Mapping[str, int], columns: ItemColumns, has_vectors: bool
) -> CompiledRules:
    """Rules that hold together, in numbers: what one of them leaves out stays out, factors multiply, the pins of the
    first come first, and the last one's diversity counts.

    Args:
        rules: one after the other.
        items: external ids.
        number: of each external id, counted from 1.
        columns: of these items.
        has_vectors: whether the items have vectors.

    Raises:
        UserError: a query does not parse, a column is unknown, or diversity is asked of a model without vectors.
    """
    allowed, factors, notes = None, None, []

    def mask(name: str, condition: Condition) -> np.ndarray:
        if isinstance(condition, str):
            try:
                return matching(condition, columns, len(items))
            except UserError as error:
                raise UserError(f"rules.{name}: {error}") from error
        found = np.zeros(len(items), dtype=bool)
        found[[number[item] - 1 for item in condition if item in number]] = True
        return found

    for one in rules:
        for name, condition in (("allow", one.allow), ("deny", one.deny)):
            if condition is not None:
                part = mask(name, condition) if name == "allow" else ~mask(name, condition)
                allowed = part if allowed is None else allowed & part
        for i, (condition, factor) in enumerate(one.boost):
            factors = np.ones(len(items), dtype=np.float32) if factors is None else factors
            factors[mask(f"boost.{i}.where", condition)] *= factor
        if one.diversity and not has_vectors:
            raise UserError("rules.diversity: this model has no item vectors; leave it out or choose another model")
    pins = list(dict.fromkeys(item for one in rules for item in one.pin))
    unknown = [item for item in pins if item not in number]
    if unknown:
        notes.append(f"{len(unknown)} pinned items are unknown to the model (the first: {unknown[0][:40]!r})")
    limits = [_limit(column, most, columns) for one in rules for column, most in one.max_per]
    return CompiledRules(
        allowed,
        factors,
        np.array([number[item] - 1 for item in pins if item in number], dtype=np.int64),
        tuple(limits),
        next((one.diversity for one in reversed(rules) if one.diversity), 0.0),
        any(one.exclude_seen for one in rules),
        tuple(notes),
    )


def _limit(name: str, most: int, columns: ItemColumns) -> tuple[np.ndarray, int]:
    column = columns.columns.get(name)
    if column is None:
        there = ", ".join(columns.columns)[:200] or "none; name a table of items with --items"
        hint = did_you_mean(name, columns.columns)
        raise UserError(f"rules.max_per: there is no column {name[:40]!r} (the columns: {there}){hint}")
    return column.codes, most


def fewer(k: int, n: int) -> str | None:
    """What is said where rules leave fewer items than were wanted."""
    return f"the rules leave {n} of {k} items" if n < k else None
