"""What is known of items as numbers: the columns of the item file as TF-IDF and SVD, and vectors from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import sparse

from recbole_tme.data.sessions import SessionData
from recbole_tme.errors import UserError
from recbole_tme.utils.spelling import did_you_mean

ALL, TITLE = "all", "title"
# Words in no more items than this say nothing that another item could share.
LEAST_ITEMS = 2
# A column of numbers is cut into so many classes of equal size.
CLASSES = 10


def item_features(data: SessionData, columns: Sequence[str] | str | None, vectors: str | None, size: int) -> np.ndarray:
    """Features of every item.

    Titles and columns of text count words, those of one word or number per item count as a word of their own, and
    numbers are cut into ten classes of equal size; all together make one TF-IDF matrix, of which the ``size`` strongest
    singular directions are kept. Vectors from a file are reduced likewise where they are longer.

    Args:
        data: the data set.
        columns: ``title``, names of further columns of its item file, or ``all``.
        vectors: a Parquet file with a column of ids and one of lists, or ``NAME.npy`` with the ids, a line each, in
            ``NAME.txt`` beside it.
        size: numbers per item.

    Returns:
        Float32 ``[N + 1, size]``; each part of a row has length 1, and is zero where nothing is known of the item.

    Raises:
        UserError: a column is not there, or the file is not such vectors, or knows none of the items.
    """
    blocks = []
    if columns:
        blocks.append(_reduced(_words(data, _chosen(data, columns)), size))
    if vectors:
        blocks.append(_reduced(_from_file(Path(vectors), data.tokens), size))
    both = np.hstack(blocks)
    return _padded(_reduced(both, size) if both.shape[1] > size else both, size).astype(np.float32)


def _chosen(data: SessionData, columns: Sequence[str] | str) -> list[str]:
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
    return wanted


def _words(data: SessionData, columns: list[str]) -> sparse.csr_matrix:
    """Word weights of every item, rows of length 1, sparse ``[N + 1, V]``."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    bags: list[list[str]] = [[] for _ in data.tokens]
    number = {str(token): row for row, token in enumerate(data.tokens)}
    for name in columns:
        kind, values = ("token_seq", data.titles) if name == TITLE else _parts(data, name)
        words = _classes(values) if kind.startswith("float") else values
        for item, value in words.items():
            if item in number:
                text = value.lower()
                found = [text] if kind == "token" else text.split()
                bags[number[item]] += [f"{name}={word}" for word in found]
    vectorizer = TfidfVectorizer(analyzer=lambda bag: bag, min_df=LEAST_ITEMS, sublinear_tf=True)
    try:
        return vectorizer.fit_transform(bags)
    except ValueError:
        raise UserError(
            f"item_content: no two items share a word in {', '.join(columns)}; choose other columns"
        ) from None


def _parts(data: SessionData, name: str) -> tuple[str, dict[str, str]]:
    column = data.item_columns[name]
    return column.kind, column.values


def _classes(values: dict[str, str]) -> dict[str, str]:
    """Numbers as the number of the class that they fall into; of several, the first."""
    numbers = np.array([float(value.split()[0]) for value in values.values()])
    edges = np.quantile(numbers, np.linspace(0, 1, CLASSES + 1)[1:-1])
    return {item: str(place) for item, place in zip(values, np.searchsorted(edges, numbers))}


def _from_file(path: Path, tokens: np.ndarray) -> np.ndarray:
    """The vectors of the items by id, rows of length 1, zeros for those that are not in the file, ``[N + 1, m]``."""
    ids, vectors = _read_npy(path) if path.suffix == ".npy" else _read_parquet(path)
    if vectors.ndim != 2 or len(ids) != len(vectors) or not vectors.shape[1]:
        raise UserError(
            f"{path}: vectors of shape {list(vectors.shape)} for {len(ids)} ids; one vector for each id, all of one "
            "length"
        )
    if not np.isfinite(vectors).all():
        raise UserError(f"{path}: the vector of {ids[int(np.argwhere(~np.isfinite(vectors))[0][0])]!r} is not finite")
    number = {name: row for row, name in enumerate(ids)}
    rows = np.array([number.get(str(token), -1) for token in tokens])
    rows[0] = -1
    if (rows < 0).all():
        raise UserError(f"{path}: knows none of the {len(tokens) - 1} items; its ids must be those of the log")
    made = np.where(rows[:, None] >= 0, vectors[rows], 0.0)
    length = np.linalg.norm(made, axis=1, keepdims=True)
    return made / np.where(length > 0, length, 1)


def _read_npy(path: Path) -> tuple[list[str], np.ndarray]:
    names = path.with_suffix(".txt")
    try:
        vectors = np.load(path, allow_pickle=False)
        ids = names.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: no vectors with their ids, a line each, in {names.name} ({error})") from error
    if vectors.dtype.kind not in "fiu":
        raise UserError(f"{path}: holds {vectors.dtype}; vectors are numbers")
    return ids[:-1] if ids[-1] == "" else ids, vectors.astype(np.float64)


def _read_parquet(path: Path) -> tuple[list[str], np.ndarray]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: not a readable Parquet file, nor .npy ({str(error).splitlines()[0]})") from error
    lists = [f.name for f in table.schema if pa.types.is_list(f.type) or pa.types.is_fixed_size_list(f.type)]
    others = [name for name in table.column_names if name not in lists]
    if len(lists) != 1 or len(others) != 1:
        raise UserError(
            f"{path}: one column of ids and one of lists of numbers are needed; it has {', '.join(table.column_names)}"
        )
    rows = table.column(lists[0]).to_pylist()
    lengths = {len(row or ()) for row in rows}
    ids = [str(value) for value in table.column(others[0]).to_pylist()]
    if len(lengths) > 1:
        odd = next(k for k, row in enumerate(rows) if len(row or ()) != len(rows[0] or ()))
        raise UserError(
            f"{path}: the vector of {ids[odd]!r} has {len(rows[odd] or ())} numbers, that of {ids[0]!r} "
            f"{len(rows[0] or ())}; all must be of one length"
        )
    try:
        return ids, np.array(rows, dtype=np.float64).reshape(len(rows), -1)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: column {lists[0]} holds no numbers ({error})") from error


def _reduced(matrix: np.ndarray | sparse.spmatrix, size: int) -> np.ndarray:
    """The strongest directions of a matrix, rows of length 1, ``[N + 1, at most size]``."""
    from sklearn.decomposition import TruncatedSVD

    if matrix.shape[1] <= size:
        made = matrix if isinstance(matrix, np.ndarray) else matrix.toarray()
    else:
        made = TruncatedSVD(size, random_state=0).fit_transform(matrix)
    length = np.linalg.norm(made, axis=1, keepdims=True)
    return made / np.where(length > 1e-9, length, 1)


def _padded(matrix: np.ndarray, size: int) -> np.ndarray:
    return np.pad(matrix, ((0, 0), (0, size - matrix.shape[1])))
