"""Means and differences that vary with the training seed and with the test sessions, by one analysis of variance.

Every run of a model answers the same test sessions, so its values form a table of seeds by sessions. The mean of that
table varies for two reasons: another seed would have trained another network, and other sessions would have been asked.
With m seeds, S sessions and a seed's answer to a session made of a part of the model, of the seed, of the session and
of both, the variance of the mean is

    variance between the seeds' means / m  +  (variance of the sessions' mean values - what the m seeds' scatter adds
    to it) / S,

where the scatter within the table (seed by session) is subtracted because the first term holds it already. For the
difference of two models the first term is there for each of them, and the sessions' values are differences, as both
models answer the same sessions. The ratio of the difference to its standard error is compared with Student's t, its
degrees of freedom by Satterthwaite: with three seeds a side mostly two to four, which is what makes such an interval
wide. A model that no seed can change has one row and no first term.

The seeds' variances of two models are pooled as in Student's test, unless an F test at the level .1 tells them apart;
then each model has its own as in Welch's test. Of 3 v 3 seeds with equal variances Welch's test alone rejects in 3.5 %
of cases where 5 % are meant, Student's in 10 % where one model's seeds differ ten times as much as the other's; this
rule stays between 4.5 % and 9 % (``benchmarks/seed_tests.py``).

Sources: the crossed two-way random model (Searle, Casella and McCulloch, "Variance components", 1992); degrees of
freedom by Satterthwaite (Biometrics Bulletin 1946), as in Welch's test.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

# Level of the F test by which two models' seeds differ alike or not.
EQUAL_VARIANCES = 0.1


@dataclass(frozen=True)
class Level:
    """A mean or difference with its standard error.

    Attributes:
        value: the mean, or the difference of two.
        error: its standard error over seeds and sessions.
        freedom: degrees of freedom of the error; infinite where it is 0.
        seed_share: share of the squared error that is owed to the seeds; NaN where it is 0.
    """

    value: float
    error: float
    freedom: float
    seed_share: float

    @property
    def p(self) -> float:
        """Two-sided p value of a true value of 0; 1 for a value of 0."""
        if self.value == 0 or self.error == 0:
            return float(self.value == 0)
        return float(2 * stats.t.sf(abs(self.value) / self.error, self.freedom))

    def interval(self, confidence: float) -> tuple[float, float]:
        """Its lower and upper end."""
        if self.error == 0:
            return self.value, self.value
        half = float(stats.t.ppf((1 + confidence) / 2, self.freedom)) * self.error
        return self.value - half, self.value + half


def mean_level(sums: np.ndarray, counts: np.ndarray) -> Level:
    """The mean over seeds, sessions and their instances.

    Args:
        sums: each seed's sum over the instances of each session, ``[m, S]``; one row for a model that no seed changes.
        counts: instances per session, ``[S]``.

    Returns:
        The mean; its error is NaN for a single session, of which nobody knows how far others are from it.
    """
    side = _Side(sums, counts)
    return _combined(side.mean, _seed_parts([side]), [side], side.contributions)


def difference_level(first: np.ndarray, second: np.ndarray, counts: np.ndarray) -> Level:
    """The difference of two models' means, ``first`` minus ``second``; arguments as for :func:`mean_level`."""
    sides = [_Side(first, counts), _Side(second, counts)]
    contributions = sides[0].contributions - sides[1].contributions
    return _combined(sides[0].mean - sides[1].mean, _seed_parts(sides), sides, contributions)


class _Side:
    """One model's part: its mean, the sessions' contributions to it, and how both vary with the seed."""

    def __init__(self, sums: np.ndarray, counts: np.ndarray):
        means = sums.sum(1) / counts.sum()
        # What a session adds to its run's mean (a ratio of sums) to first order, in units of the average session.
        each = (sums - means[:, None] * counts) / counts.mean()
        self.mean = float(means.mean())
        self.contributions = each.mean(0)
        self.seeds, self.freedom = len(means), len(means) - 1
        self.variance = self.scatter = 0.0
        if self.freedom:
            self.variance = float(means.var(ddof=1))
            residual = float(((each - self.contributions) ** 2).sum()) / (self.freedom * max(1, len(counts) - 1))
            self.scatter = residual / len(means)


def _seed_parts(sides: list[_Side]) -> list[tuple[float, int]]:
    """What the seeds add to the squared error: parts and their degrees of freedom."""
    trained = [side for side in sides if side.freedom]
    if len(trained) == 2:
        first, second = trained
        limits = stats.f.ppf([EQUAL_VARIANCES / 2, 1 - EQUAL_VARIANCES / 2], first.freedom, second.freedom)
        if limits[0] * second.variance <= first.variance <= limits[1] * second.variance:
            freedom = first.freedom + second.freedom
            pooled = (first.variance * first.freedom + second.variance * second.freedom) / freedom
            return [(pooled * (1 / first.seeds + 1 / second.seeds), freedom)]
    return [(side.variance / side.seeds, side.freedom) for side in trained]


def _combined(value: float, seed_parts: list, sides: list[_Side], contributions: np.ndarray) -> Level:
    n_sessions = len(contributions)
    if n_sessions < 2:
        return Level(value, float("nan"), float("nan"), float("nan"))
    spread = float((contributions**2).sum()) / (n_sessions - 1)
    of_sessions = max(0.0, spread - sum(side.scatter for side in sides)) / n_sessions
    parts = [*seed_parts, (of_sessions, n_sessions - 1)]
    total = sum(part for part, _ in parts)
    # What is left of numbers that should cancel is no variance.
    if total <= 1e-24:
        return Level(0.0 if abs(value) < 1e-12 else value, 0.0, np.inf, float("nan"))
    freedom = total**2 / sum(part**2 / degrees for part, degrees in parts if part)
    return Level(value, float(np.sqrt(total)), freedom, 1 - of_sessions / total)
