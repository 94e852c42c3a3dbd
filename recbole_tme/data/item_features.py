"""What is known of items as numbers: the columns of the item file as TF-IDF and SVD or by a text encoder, and vectors
from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from recbole_tme.data.item_recipe import (
    Given,
    ItemRecipe,
    Texts,
    Values,
    Words,
    bags,
    first_number,
    projected,
    texts,
    together,
)
from recbole_tme.data.item_vectors import read_vectors, rows_of
from recbole_tme.data.items import TITLE
from recbole_tme.data.sessions import SessionData
from recbole_tme.data.text_encoder import encoded
from recbole_tme.errors import UserError
from recbole_tme.utils.spelling import did_you_mean

ALL = "all"
# Words in no more items than this say nothing that another item could share.
LEAST_ITEMS = 2
# A column of numbers is cut into so many classes of equal size.
CLASSES = 10


class ItemFeatures(NamedTuple):
    """What is known of the items of a data set as numbers.

    Attributes:
        table: float32 ``[N + 1, size]``; each part of a row has length 1, and is zero where nothing is known.
        recipe: makes the features of other items in the same way.
    """

    table: np.ndarray
    recipe: ItemRecipe


def item_features(
    data: SessionData,
    columns: Sequence[str] | str | None,
    vectors: str | None,
    size: int,
    encoder: str | None = None,
) -> ItemFeatures:
    """Features of every item.

    Titles and columns of text count words, those of one word or number per item count as a word of their own, and
    numbers are cut into ten classes of equal size; all together make one TF-IDF matrix, of which the ``size`` strongest
    singular directions are kept. With an encoder, titles and texts are its vectors instead, and numbers alone are
    classes. Vectors, the encoder's and those from a file, are reduced likewise where they are longer.

    Args:
        data: the data set.
        columns: ``title``, names of further columns of its item file, or ``all``.
        vectors: a file of vectors, see :func:`~recbole_tme.data.item_vectors.read_vectors`.
        size: numbers per item.
        encoder: folder of a text encoder, see :mod:`~recbole_tme.data.text_encoder`.

    Raises:
        UserError: a column is not there, the file is not such vectors or knows none of the items, or there is no such
            encoder.
    """
    items = [str(token) for token in data.tokens]
    kinds, values = _chosen(data, columns) if columns else ({}, {})
    words = text_part = given = None
    parts = []
    if encoder is not None:
        of_text = [name for name, kind in kinds.items() if not kind.startswith("float")]
        if not of_text:
            raise UserError("item_encoder: encodes the text of item_content; name title or another column of text")
        found = encoded(Path(encoder), texts(of_text, values, items))
        text_part = Texts(encoder, of_text, _directions(found, size))
        parts.append(projected(found, text_part.directions))
        kinds = {name: kind for name, kind in kinds.items() if kind.startswith("float")}
    if kinds:
        words, made = _words(kinds, values, items, size)
        parts.insert(0, made)
    if vectors:
        rows = _from_file(Path(vectors), items)
        given = Given(rows.shape[1], _directions(rows, size))
        parts.append(projected(rows, given.directions))
    directions = _directions(np.hstack(parts), size)
    return ItemFeatures(together(parts, directions, size), ItemRecipe(words, text_part, given, directions, size))


def _chosen(data: SessionData, columns: Sequence[str] | str) -> tuple[dict[str, str], Values]:
    """The kinds of the columns that are meant, and their values."""
    known = [*([TITLE] if data.titles else []), *data.item_columns]
    wanted = columns.replace(",", " ").split() if isinstance(columns, str) else list(columns)
    if wanted == [ALL]:
        wanted = known
    for name in wanted:
        if name not in known:
            raise UserError(
                f"item_content: data set {data.name} has no column {name!r} of items{did_you_mean(name, known)} (it "
                f"has: {', '.join(known) or 'none; prepare it with --items or --item-columns'})"
            )
    if not wanted:
        raise UserError(f"item_content: nothing is known of the items of data set {data.name}; prepare it with --items")
    of_title = name_kind = {}
    if TITLE in wanted and data.titles:
        of_title, name_kind = {TITLE: data.titles}, {TITLE: "token_seq"}
    others = [name for name in wanted if name not in of_title]
    kinds = name_kind | {name: data.item_columns[name].kind for name in others}
    values = of_title | {name: data.item_columns[name].values for name in others}
    return {name: kinds[name] for name in wanted}, values


def _words(kinds: Mapping[str, str], values: Values, items: Sequence[str], size: int) -> tuple[Words, np.ndarray]:
    """The words of every item, and their features, rows of length 1, ``[N + 1, at most size]``."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    edges = {name: _edges(name, values[name]) for name, kind in kinds.items() if kind.startswith("float")}
    vectorizer = TfidfVectorizer(analyzer=lambda bag: bag, min_df=LEAST_ITEMS, sublinear_tf=True)
    try:
        matrix = vectorizer.fit_transform(bags(kinds, edges, values, items))
    except ValueError:
        raise UserError(
            f"item_content: no two items share a word in {', '.join(kinds)}; choose other columns"
        ) from None
    number = {str(word): place for place, word in enumerate(vectorizer.get_feature_names_out())}
    directions = _directions(matrix, size)
    made = matrix.toarray() if directions is None else matrix @ directions
    return Words(kinds, edges, number, vectorizer.idf_, directions), projected(made, None)


def _edges(name: str, values: Mapping[str, str]) -> list[float]:
    """Where the classes of a column's numbers end."""
    numbers = [first_number(name, item, text) for item, text in values.items()]
    return [float(edge) for edge in np.quantile(numbers, np.linspace(0, 1, CLASSES + 1)[1:-1])] if numbers else []


def _from_file(path: Path, items: Sequence[str]) -> np.ndarray:
    """The vectors of the items by id, rows of length 1, zeros for those that are not in the file, ``[N + 1, m]``."""
    ids, vectors = read_vectors(path)
    if not set(ids) & set(items[1:]):
        raise UserError(f"{path}: knows none of the {len(items) - 1} items; its ids must be those of the log")
    rows = rows_of(ids, vectors, items)
    rows[0] = 0
    return rows


def _directions(matrix: np.ndarray | csr_matrix, size: int) -> np.ndarray | None:
    """The strongest singular directions of a matrix, ``[m, size]``; None where it has no more columns than that."""
    from sklearn.decomposition import TruncatedSVD

    if matrix.shape[1] <= size:
        return None
    directions: np.ndarray = TruncatedSVD(size, random_state=0).fit(matrix).components_.T
    return directions
