"""How features are made of what is known of an item, kept with a trained model to make those of items that are new."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from recbole_tme.data.item_vectors import rows_of
from recbole_tme.data.text_encoder import encoded
from recbole_tme.errors import UserError
from recbole_tme.utils.unit import unit_rows

# The text of an item's columns by column and external item id.
Values = Mapping[str, Mapping[str, str]]
Vectors = tuple[Sequence[str], np.ndarray]
# What rounding leaves of a row of length 1 that is on none of the directions.
ALMOST_NOTHING = 1e-9


@dataclass(frozen=True)
class Words:
    """Weighted words of an item, and the directions that are kept of them.

    Attributes:
        kinds: the columns that are read and their kinds, see :data:`~recbole_tme.data.items.KINDS`.
        edges: of each column of numbers, where its classes end, ascending.
        number: of each known word.
        weights: of the known words by how few items have them, float ``[V]``.
        directions: what they are projected on, ``[V, c]``; None where all are kept.
    """

    kinds: Mapping[str, str]
    edges: Mapping[str, Sequence[float]]
    number: Mapping[str, int]
    weights: np.ndarray
    directions: np.ndarray | None

    def rows(self, values: Values, items: Sequence[str]) -> np.ndarray:
        """The features of some items, rows of length 1 or 0, ``[len(items), c]``.

        Raises:
            UserError: a number is none; names column and item.
        """
        width = len(self.number) if self.directions is None else self.directions.shape[1]
        made = np.zeros((len(items), width))
        for row, words in zip(made, bags(self.kinds, self.edges, values, items)):
            counted = Counter(self.number[word] for word in words if word in self.number)
            if not counted:
                continue
            places = np.fromiter(counted, np.int64)
            weights = (1 + np.log(np.fromiter(counted.values(), float))) * self.weights[places]
            weights /= np.linalg.norm(weights)
            if self.directions is None:
                row[places] = weights
            else:
                row[:] = weights @ self.directions[places]
        return unit_rows(made, ALMOST_NOTHING)


@dataclass(frozen=True)
class Texts:
    """A local encoder's vectors of an item's text.

    Attributes:
        encoder: folder of the encoder.
        columns: whose values are put together to one text.
        directions: what the vectors are projected on, ``[m, c]``; None where all of it is kept.
    """

    encoder: str
    columns: Sequence[str]
    directions: np.ndarray | None

    def rows(self, values: Values, items: Sequence[str]) -> np.ndarray:
        """The features of some items, rows of length 1 or 0, ``[len(items), c]``.

        Raises:
            UserError: the encoder is not to be had.
        """
        return projected(encoded(Path(self.encoder), texts(self.columns, values, items)), self.directions)


@dataclass(frozen=True)
class Given:
    """Vectors of a file.

    Attributes:
        size: numbers of such a vector.
        directions: what they are projected on, ``[size, c]``; None where all of it is kept.
    """

    size: int
    directions: np.ndarray | None

    def rows(self, vectors: Vectors, items: Sequence[str]) -> np.ndarray:
        """The features of some items, rows of length 1 or 0, ``[len(items), c]``, of vectors of ``size`` numbers."""
        return projected(rows_of(*vectors, items), self.directions)


@dataclass(frozen=True)
class ItemRecipe:
    """All parts of an item's features.

    Attributes:
        words, texts, given: the parts, in this order; None where there is none.
        directions: what the parts side by side are projected on; None where all of it is kept.
        size: numbers per item; those that are not needed are 0.
    """

    words: Words | None
    texts: Texts | None
    given: Given | None
    directions: np.ndarray | None
    size: int

    @property
    def columns(self) -> list[str]:
        """The columns of items that are read."""
        return [*(self.words.kinds if self.words else ()), *(self.texts.columns if self.texts else ())]

    def features(self, values: Values, vectors: Vectors | None, items: Sequence[str]) -> np.ndarray:
        """Features of items.

        Args:
            values: of their columns.
            vectors: by id, of ``given.size`` numbers; None where none are given, which leaves that part 0.
            items: external ids.

        Returns:
            Float32 ``[len(items), size]``, zeros where nothing is known of an item.

        Raises:
            UserError: a value is no number, or the text encoder is not to be had.
        """
        parts = [part.rows(values, items) for part in (self.words, self.texts) if part is not None]
        if self.given is not None:
            found = vectors or ([], np.zeros((1, self.given.size)))
            parts.append(self.given.rows(found, items))
        return together(parts, self.directions, self.size)

    def to_bytes(self) -> bytes:
        """All of it as plain data (safetensors)."""
        about = {
            "size": self.size,
            "words": self.words and [dict(self.words.kinds), dict(self.words.edges), list(self.words.number)],
            "texts": self.texts and [self.texts.encoder, list(self.texts.columns)],
            "given": self.given and self.given.size,
        }
        arrays = {"about": np.frombuffer(json.dumps(about, ensure_ascii=False).encode(), np.uint8)}
        if self.words is not None:
            arrays["weights"] = self.words.weights.astype(np.float32)
        for name, part in (("words", self.words), ("texts", self.texts), ("given", self.given), ("all", self)):
            if part is not None and part.directions is not None:
                arrays[f"directions {name}"] = np.ascontiguousarray(part.directions, np.float32)
        return save(arrays)

    @classmethod
    def of_bytes(cls, content: bytes) -> ItemRecipe:
        """What :meth:`to_bytes` made.

        Raises:
            UserError: it is something else.
        """
        try:
            arrays = load(content)
            about = json.loads(arrays["about"].tobytes())
            directions = {name: arrays.get(f"directions {name}") for name in ("words", "texts", "given", "all")}
            words = texts = given = None
            if about["words"]:
                kinds, edges, known = about["words"]
                number = {word: place for place, word in enumerate(known)}
                words = Words(kinds, edges, number, arrays["weights"], directions["words"])
            if about["texts"]:
                encoder, columns = about["texts"]
                texts = Texts(encoder, columns, directions["texts"])
            if about["given"]:
                given = Given(about["given"], directions["given"])
            return cls(words, texts, given, directions["all"], about["size"])
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"the model's recipe of item content is damaged ({error}); train the model again"
            ) from error


def bags(
    kinds: Mapping[str, str], edges: Mapping[str, Sequence[float]], values: Values, items: Iterable[str]
) -> list[list[str]]:
    """The words of some items: of text those between blanks, of a token itself, of a number its class.

    Raises:
        UserError: a number is none; names column and item.
    """
    made = []
    for item in items:
        bag = []
        for name, kind in kinds.items():
            text = values.get(name, {}).get(item)
            if text is None:
                continue
            if kind.startswith("float"):
                words = [str(np.searchsorted(edges[name], first_number(name, item, text)))]
            else:
                words = [text.lower()] if kind == "token" else text.lower().split()
            bag += [f"{name}={word}" for word in words]
        made.append(bag)
    return made


def first_number(column: str, item: str, text: str) -> float:
    """The number in a value, the first of several.

    Raises:
        UserError: it is none; names column and item.
    """
    try:
        return float(text.split()[0])
    except (ValueError, IndexError):
        raise UserError(f"column {column}: item {item!r} has {text!r}; a number is expected") from None


def texts(columns: Sequence[str], values: Values, items: Iterable[str]) -> list[str]:
    """The values of an item's columns as one text, empty where there is none."""
    return [", ".join(values[name][item] for name in columns if item in values.get(name, {})) for item in items]


def together(parts: Sequence[np.ndarray], directions: np.ndarray | None, size: int) -> np.ndarray:
    """Parts side by side, projected, and filled up with zeros, float32 ``[n, size]``."""
    made = np.hstack(parts)
    if directions is not None:
        made = projected(made, directions)
    return np.pad(made, ((0, 0), (0, size - made.shape[1]))).astype(np.float32)


def projected(rows: np.ndarray, directions: np.ndarray | None) -> np.ndarray:
    """Rows on some directions, of length 1, or of almost none where nothing of a row is on them."""
    return unit_rows(rows if directions is None else rows @ directions, ALMOST_NOTHING)
