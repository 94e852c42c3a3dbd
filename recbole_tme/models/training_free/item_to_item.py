"""Models whose scores are one row of an item-by-item matrix: the row of the last click."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from recbole_tme.models.training_free.base import TrainingFree


def keep_highest(matrix: sparse.csr_matrix, n: int) -> sparse.csr_matrix:
    """The matrix with the ``n`` highest values of each row and nothing else."""
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((-matrix.data, row))
    kept = order[np.arange(len(order)) - matrix.indptr[row] < n]
    return sparse.csr_matrix((matrix.data[kept], (row[kept], matrix.indices[kept])), shape=matrix.shape)


class ItemToItem(TrainingFree):
    """Scores of the items that follow from the last click; the rest score 0."""

    def remember_matrix(self, matrix: sparse.csr_matrix) -> None:
        """Keep the matrix, ``[N + 1, N + 1]``: row = last click, column = the item that is scored."""
        self.remember("row_start", matrix.indptr.astype(np.int64))
        self.remember("column", matrix.indices.astype(np.int32), ragged=True)
        self.remember("value", matrix.data.astype(np.float32), ragged=True)

    def prepare(self, state: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return state["row_start"], state["column"], state["value"]

    def score(self, session: np.ndarray) -> np.ndarray:
        row_start, column, value = self.prepared
        row = slice(row_start[session[-1]], row_start[session[-1] + 1])
        scores = np.zeros(self.n_items, dtype=np.float32)
        scores[column[row]] = value[row]
        return scores
