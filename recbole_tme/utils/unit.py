"""Rows of length 1, in NumPy; those of a model's own tables are :mod:`recbole_tme.nn.unit`'s."""

from __future__ import annotations

import numpy as np


def unit_rows(rows: np.ndarray, least: float = 0.0) -> np.ndarray:
    """Rows divided by their Euclidean norms, ``[n, m]``; a row whose norm is not above ``least`` stays as it is."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > least, length, 1)
