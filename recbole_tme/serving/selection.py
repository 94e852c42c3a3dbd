"""The best items of rows of scores: by score, and of equal scores the item with the lower number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from recbole_tme.errors import UserError
from recbole_tme.models.training_free.base import TrainingFree

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


def best_found(
    model: torch.nn.Module, sessions: Sequence[list[int]], k: int, n_items: int, left_out: Sequence[np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """Places and scores of each session's best items by a model that finds them without scoring the catalogue.

    Args:
        model: any.
        sessions: numbers of items, each.
        k, n_items: as :func:`top_k_of_found`.
        left_out: places that are not to be chosen, for each session.

    Returns:
        None where the model scores the catalogue.
    """
    if not isinstance(model, TrainingFree):
        return None
    found = model.found([np.array(session, dtype=np.int64) for session in sessions])
    if found is None:
        return None
    return [top_k_of_found(items - 1, scores, k, n_items, out) for (items, scores), out in zip(found, left_out)]


def top_k_of_found(
    items: np.ndarray, scores: np.ndarray, k: int, n_items: int, left_out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The best ``k`` of a catalogue in which few items have a score and all others 0: what :func:`top_k` would choose.

    Args:
        items, scores: places of the items that have one, and theirs, float32, at least 0; ``[n]``.
        k: at most ``n_items``.
        n_items: of the catalogue.
        left_out: places that are not to be chosen; there may be fewer than ``k`` then.

    Raises:
        UserError: a score is NaN.
    """
    check_numbers(scores)
    kept = (scores > 0) & ~np.isin(items, left_out)
    places, values = items[kept], scores[kept]
    chosen = np.lexsort((places, -values))[:k]
    places, values = places[chosen], values[chosen]
    missing = k - len(places)
    if missing:
        # The first places that score 0 are among so many.
        first = np.arange(min(n_items, k + len(left_out)))
        rest = np.setdiff1d(first, np.concatenate([places, left_out]), assume_unique=True)[:missing]
        places, values = np.append(places, rest), np.append(values, np.zeros(len(rest), dtype=values.dtype))
    return places, values


def check_numbers(scores: np.ndarray) -> None:
    """Refuse scores that are no numbers.

    Raises:
        UserError: there is NaN among them.
    """
    if np.isnan(scores).any():
        raise UserError("the model's scores hold NaN, so it cannot recommend; train it again")
