"""Vectors of items from a file, by item id: Parquet, or ``.npy`` with the ids beside it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from recbole_tme.errors import UserError, first_line
from recbole_tme.utils.unit import unit_rows


def read_vectors(path: Path) -> tuple[list[str], np.ndarray]:
    """The ids and the vectors of a file.

    Args:
        path: a Parquet file with a column of ids and one of lists, or ``NAME.npy`` with the ids, a line each, in
            ``NAME.txt`` beside it.

    Returns:
        The ids, and float64 ``[n, m]``, all finite.

    Raises:
        UserError: the file is not such vectors; says why.
    """
    ids, vectors = _read_npy(path) if path.suffix == ".npy" else _read_parquet(path)
    if vectors.ndim != 2 or len(ids) != len(vectors) or not vectors.shape[1]:
        raise UserError(
            f"{path}: vectors of shape {list(vectors.shape)} for {len(ids)} ids; one vector for each id, all of one "
            "length"
        )
    if not np.isfinite(vectors).all():
        raise UserError(f"{path}: the vector of {ids[int(np.argwhere(~np.isfinite(vectors))[0][0])]!r} is not finite")
    return ids, vectors


def rows_of(ids: Iterable[str], vectors: np.ndarray, items: Iterable[str]) -> np.ndarray:
    """The vectors of some items, rows of length 1, zeros for those that have none, ``[len(items), m]``."""
    number = {name: row for row, name in enumerate(ids)}
    rows = np.array([number.get(str(item), -1) for item in items], dtype=np.int64)
    return unit_rows(np.where(rows[:, None] >= 0, vectors[rows], 0.0))


def holds_vectors(path: Path) -> bool:
    """Whether a file is one of vectors and no table of items: ``.npy``, or Parquet with a column of lists."""
    if path.suffix == ".npy":
        return True
    if path.suffix != ".parquet":
        return False
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return bool(_lists(pq.read_schema(path)))
    except (OSError, pa.ArrowException):
        return False


def _lists(schema) -> list[str]:
    import pyarrow as pa

    return [field.name for field in schema if pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type)]


def _read_npy(path: Path) -> tuple[list[str], np.ndarray]:
    names = path.with_suffix(".txt")
    try:
        vectors = np.load(path, allow_pickle=False)
        ids = names.read_text(encoding="utf-8").split("\n")
    # One of a few bytes may promise any number of vectors.
    except (OSError, ValueError, EOFError, MemoryError) as error:
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
        raise UserError(f"{path}: not a readable Parquet file, nor .npy ({first_line(error)})") from error
    lists = _lists(table.schema)
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
