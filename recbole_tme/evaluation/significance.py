"""How sure a metric, and a difference between two models, is: sessions are resampled, never instances.

The instances of a session share clicks, so they are right or wrong together; a bootstrap of instances would call
differences certain that are not. A resample draws as many sessions as there are, with replacement, each with all of
its instances, and a metric is the mean over the instances drawn (a ratio of two sums over sessions). Several runs of a
model that differ in their seed count as one: the mean over seeds of each instance's value. What is said holds for
these trained models on other sessions of the kind; how far another seed would lead is the spread over seeds, a
separate figure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from recbole_tme.evaluation.metrics import METRICS, metric_key
from recbole_tme.evaluation.ranks import Ranks

CONFIDENCE = 0.95
RESAMPLES = 10_000
# Draws made at once; their counts stay in a core's cache.
DRAWS = 2**18
# Differences below this are rounding: sums of thirds, or of reciprocal ranks, that should cancel.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A model's metric.

    Attributes:
        model, metric: which one, such as "TMEGNN" and "hit@20".
        value: mean over instances and seeds, a fraction.
        low, high: its interval.
        seeds: runs it is the mean of.
        spread: standard deviation of the runs' values; NaN for one run.
        tie_share: share of instances whose target ties with another item, mean over runs.
        sessions: sessions resampled.
    """

    model: str
    metric: str
    value: float
    low: float
    high: float
    seeds: int
    spread: float
    tie_share: float
    sessions: int


@dataclass(frozen=True)
class Comparison:
    """The difference between two models on the same instances.

    Attributes:
        model, reference, metric: the difference is ``model`` minus ``reference`` in ``metric``.
        difference: of the means over instances, a fraction.
        low, high: its interval.
        p: two-sided p value, 1 for equal models; above ``1 - confidence`` exactly where the interval holds 0, up to
            the resolution of the resamples.
        p_holm: ``p`` adjusted by :func:`holm` for all comparisons made together.
        effect: the difference in standard deviations of the sessions' differences (Cohen's d of paired samples, each
            session weighted by its instances); 0 for equal models.
        equal_sessions: share of sessions on which the models do equally.
        sessions: sessions resampled.
    """

    model: str
    reference: str
    metric: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    effect: float
    equal_sessions: float
    sessions: int


def estimate(
    models: Mapping[str, Sequence[Ranks]],
    metrics: Sequence[str],
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> list[Estimate]:
    """Each model's metrics with intervals by the percentile bootstrap over sessions.

    Args:
        models: a model's ranks, one per seed, by its name; all of the same instances in the same order.
        metrics: names with their K, such as "P@20".
        resamples: bootstrap resamples.
        seed: of the resampling.
        confidence: of the intervals.

    Raises:
        UserError: a metric is unknown.
        ValueError: instances differ, or there is none.
    """
    values, session = _all_values(models, metrics)
    sums, counts = session_sums(np.stack([value.mean(0) for *_, value in values], axis=1), session)
    low, high = _interval(resampled_means(sums, counts, resamples, seed), confidence)
    return [
        Estimate(
            model=model,
            metric=key,
            value=float(value.mean()),
            low=float(low[i]),
            high=float(high[i]),
            seeds=len(value),
            spread=float(value.mean(1).std(ddof=1)) if len(value) > 1 else float("nan"),
            tie_share=float(np.mean([ranks.tie_share for ranks in models[model]])),
            sessions=len(counts),
        )
        for i, (model, key, value) in enumerate(values)
    ]


def compare(
    models: Mapping[str, Sequence[Ranks]],
    pairs: Sequence[tuple[str, str]],
    metrics: Sequence[str],
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> list[Comparison]:
    """Paired differences between models; all of them, over pairs and metrics, are one family for :func:`holm`.

    Every comparison sees the same resamples, so a pair's line is the same whatever else is compared, and that of the
    pair the other way round is its mirror image.

    Args:
        models: as for :func:`estimate`.
        pairs: ``(model, reference)`` by name.
        metrics: names with their K, such as "P@20".
        resamples: bootstrap resamples; no p value is below ``2 / (resamples + 1)``.
        seed: of the resampling.
        confidence: of the intervals.

    Raises:
        UserError: a metric is unknown.
        ValueError: instances differ, or there is none.
    """
    values, session = _all_values(models, metrics)
    mean = {(model, key): value.mean(0) for model, key, value in values}
    lines = [(model, other, metric_key(name)) for model, other in pairs for name in metrics]
    if not lines:
        return []
    per_instance = np.stack([mean[model, key] - mean[other, key] for model, other, key in lines], axis=1)
    sums, counts = session_sums(per_instance, session)
    means = resampled_means(sums, counts, resamples, seed)
    low, high = _interval(means, confidence)
    p = p_values(means)
    adjusted = holm(p)
    effect = effect_sizes(sums, counts)
    equal = (np.abs(sums) < ROUNDING).mean(0)
    return [
        Comparison(
            model=model,
            reference=other,
            metric=key,
            difference=float(sums[:, i].sum() / counts.sum()),
            low=float(low[i]),
            high=float(high[i]),
            p=float(p[i]),
            p_holm=float(adjusted[i]),
            effect=float(effect[i]),
            equal_sessions=float(equal[i]),
            sessions=len(counts),
        )
        for i, (model, other, key) in enumerate(lines)
    ]


def same_instances(first: Ranks, second: Ranks) -> bool:
    """Whether two rankings are of the same instances in the same order."""
    names = ("target", "session", "length", "is_repeat", "is_last_click")
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)


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


def holm(p: np.ndarray) -> np.ndarray:
    """P values adjusted for testing all of them at once (Holm, Scandinavian Journal of Statistics 1979), ``[m]``.

    The k-th smallest of m is multiplied by m - k + 1; none falls below a smaller one's, none exceeds 1.
    """
    order = np.argsort(p, kind="stable")
    scaled = np.asarray(p, dtype=np.float64)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return adjusted


def _all_values(models: Mapping[str, Sequence[Ranks]], metrics: Sequence[str]):
    """``(model, metric, values [seeds, n])`` of each model and metric, and the session of each instance."""
    first = next(iter(models.values()))[0]
    if not len(first):
        raise ValueError("there is no instance to compare models on")
    values = []
    for model, runs in models.items():
        if not all(same_instances(first, ranks) for ranks in runs):
            raise ValueError(f"the instances of {model} differ from those of {next(iter(models))}")
        for key in map(metric_key, metrics):
            name, _, k = key.partition("@")
            values.append((model, key, np.stack([METRICS[name](ranks.rank, int(k)) for ranks in runs])))
    return values, first.session


def _interval(means: np.ndarray, confidence: float) -> np.ndarray:
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
