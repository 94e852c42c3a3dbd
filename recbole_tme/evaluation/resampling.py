"""The bootstrap over whole test sessions: resampled means, their intervals and p values."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

# Draws made at once; their counts stay in a core's cache.
DRAWS = 2**18
# Differences below this are rounding: sums of thirds, or of reciprocal ranks, that should cancel.
ROUNDING = 1e-12


def session_sums(values: np.ndarray, session: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add up instances by session.

    Args:
        values: float64 ``[n, C]``.
        session: any numbering of the sessions, ``[n]``.

    Returns:
        Sums ``[S, C]`` and numbers of instances ``[S]``, float64, sessions in the order of their first instance.
    """
    code, names = pd.factorize(session)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, code, values)
    return sums, np.bincount(code, minlength=len(names)).astype(np.float64)


def resampled_means(sums: np.ndarray, counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means over the instances of resampled sessions, ``[resamples, C]``.

    The same numbers as ``scipy.stats.bootstrap`` of the ratio of sums (paired), up to the draw, but every column sees
    the same draws and all of them cost one matrix product.

    Args:
        sums, counts: as from :func:`session_sums`.
        resamples: how many.
        seed: of the draws.
    """
    both = np.column_stack([sums, counts])
    totals = np.concatenate([times @ both for times in _draws(len(counts), resamples, seed)])
    return totals[:, :-1] / totals[:, -1:]


def p_values(means: np.ndarray) -> np.ndarray:
    """Two-sided p values of "no difference" from resampled differences ``[R, C]``, ``[C]``.

    Twice the share of resamples on the side of 0 that has fewer, one more added to both counts: the level at which
    the percentile interval begins to hold 0.
    """
    fewer = np.minimum((means <= ROUNDING).sum(0), (means >= -ROUNDING).sum(0))
    return np.minimum(1.0, 2 * (fewer + 1) / (len(means) + 1))


def effect_sizes(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean difference in standard deviations of the sessions, ``[C]``; 0 where no session differs.

    A session's contribution to the mean over instances is ``sum - mean * count`` in units of the average count (the
    linearised ratio); with one instance per session this is Cohen's d for paired samples.

    Args:
        sums, counts: as from :func:`session_sums`, of differences.
    """
    mean = sums.sum(0) / counts.sum()
    deviation = (sums - mean * counts[:, None]) / counts.mean()
    spread = np.sqrt((deviation**2).sum(0) / max(1, len(counts) - 1))
    certain = np.where(np.abs(mean) < ROUNDING, 0.0, np.copysign(np.inf, mean))
    return np.divide(mean, spread, out=certain, where=spread > ROUNDING)


def percentile_interval(means: np.ndarray, confidence: float) -> np.ndarray:
    """Lower and upper ends of the percentile intervals, ``[2, C]``."""
    return np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)


def _draws(n: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of ``n`` sessions is drawn, float64 ``[some resamples, n]`` at a time."""
    rng = np.random.default_rng(seed)
    rows = max(1, DRAWS // n)
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        drawn = rng.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)
