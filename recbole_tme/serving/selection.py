"""The best items of rows of scores: by score, and of equal scores the item with the lower number."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from recbole_tme.errors import UserError

# Scores that are held at a time: 8 MB of float32, which the processor's cache holds at least in part, ...
SCORES_AT_ONCE = 2**21
# ... or more for so many sessions, for which the item vectors are then read only once, but never over 64 MB.
EFFICIENT_BATCH, MOST_SCORES = 16, 2**24
LARGEST_BATCH = 1024


def batch_size(n_items: int) -> int:
    """Sessions that are scored at a time."""
    efficient = min(EFFICIENT_BATCH, MOST_SCORES // (n_items + 1))
    return max(1, min(LARGEST_BATCH, max(SCORES_AT_ONCE // (n_items + 1), efficient)))


def top_k(scores: np.ndarray, k: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places and scores of the best ``k`` items of each row.

    Args:
        scores: float32 ``[B, N]``, with ``k <= N``.

    Raises:
        UserError: a row holds NaN.
    """
    # One more tells whether the last of the k has equals outside. NaN counts as larger than any number.
    best = torch.from_numpy(scores).topk(min(k + 1, scores.shape[1]), dim=1)
    values, places = best.values.numpy(), best.indices.numpy()
    check_numbers(values)
    for row, place, value in zip(scores, places, values):
        if len(place) > k and value[k - 1] == value[k]:
            chosen = top_k_of_row(row, k, np.arange(0))
        else:
            chosen = place[:k][np.lexsort((place[:k], -value[:k]))]
        yield chosen, row[chosen]


def top_k_of_row(row: np.ndarray, k: int, left_out: np.ndarray) -> np.ndarray:
    """Places of the best ``k`` items of a row, whatever ties there are.

    Args:
        row: scores without NaN, ``[N]``.
        k: at most N.
        left_out: places whose scores are minus infinity and that are not to be chosen.
    """
    least = np.partition(row, len(row) - k)[len(row) - k]
    better = np.flatnonzero(row > least)
    equal = np.setdiff1d(np.flatnonzero(row == least), left_out, assume_unique=True)[: k - len(better)]
    chosen = np.concatenate([better, equal])
    return chosen[np.lexsort((chosen, -row[chosen]))]


def check_numbers(scores: np.ndarray) -> None:
    """Refuse scores that are no numbers.

    Raises:
        UserError: there is NaN among them.
    """
    if np.isnan(scores).any():
        raise UserError("the model's scores hold NaN, so it cannot recommend; train it again")
