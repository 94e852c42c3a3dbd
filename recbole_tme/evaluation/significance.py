"""How sure a metric, and a difference between two models, is: over training seeds and test sessions.

Two things make a figure vary. Another seed would have trained another network; other users would have asked other
sessions. Sessions are units, never instances: the instances of a session share clicks and are correlated. What is said
depends on what there is:

* models with two or more seeds, or that no seed can change: an interval and p value over :data:`BOTH` levels, by
  :mod:`~recbole_tme.evaluation.two_level`;
* two models that no seed can change: over sessions, by a bootstrap: a resample draws as many sessions as there are,
  with replacement, each with all of its instances, and a metric is the mean over the instances drawn;
* a trained model with a single seed on either side: the interval of the same bootstrap, which holds for
  :data:`THESE_RUNS` on other sessions, and no p value. Such a bootstrap tells two seeds of one model
  apart in most cases, so that it says nothing about models (``benchmarks/seed_tests.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recbole_tme.evaluation.metrics import METRICS, metric_key
from recbole_tme.evaluation.ranks import Ranks
from recbole_tme.evaluation.resampling import (
    ROUNDING,
    effect_sizes,
    p_values,
    percentile_interval,
    resampled_means,
    session_sums,
)
from recbole_tme.evaluation.two_level import difference_level, mean_level

# What the intervals hold for: the kinds of variation in them.
BOTH = "seeds and sessions"
SESSIONS = "sessions"
THIS_RUN = "sessions, this trained run"
THESE_RUNS = "sessions, these two trained runs"

CONFIDENCE = 0.95
RESAMPLES = 10_000


@dataclass(frozen=True)
class Estimate:
    """A model's metric.

    Attributes:
        model, metric: which one, such as "TMEGNN" and "hit@20".
        value: mean over instances and seeds, a fraction.
        low, high: its interval.
        over: what varies in the interval: :data:`BOTH`, :data:`SESSIONS` for a model that no seed can change, or
            :data:`THIS_RUN` for a single seed.
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
    over: str
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
        over: what varies in the interval: :data:`BOTH`, :data:`SESSIONS` for two models that no seed can change, or
            :data:`THESE_RUNS` where a trained model has a single seed.
        p: two-sided p value, 1 for equal models; above ``1 - confidence`` exactly where the interval holds 0, up to
            the resolution of the resamples. NaN for :data:`THESE_RUNS`.
        p_holm: ``p`` adjusted by :func:`holm` for all comparisons with a p value made together.
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
    over: str
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
    seed_independent: Collection[str] = (),
) -> list[Estimate]:
    """Each model's metrics with intervals.

    Args:
        models: a model's ranks, one per seed, by its name; all of the same instances in the same order.
        metrics: names with their K, such as "P@20".
        resamples: bootstrap resamples, of the intervals over sessions alone.
        seed: of the resampling.
        confidence: of the intervals.
        seed_independent: names of the models that no seed can change.

    Raises:
        UserError: a metric is unknown.
        ValueError: instances differ, or there is none.
    """
    values, session = _all_values(models, metrics)
    kinds = [_kind(len(value), model in seed_independent, THIS_RUN) for model, _, value in values]
    sums, counts = session_sums(np.stack([value.mean(0) for *_, value in values], axis=1), session)
    intervals = _bootstrap_intervals(sums, counts, [kind != BOTH for kind in kinds], resamples, seed, confidence)
    lines = []
    for i, (model, key, value) in enumerate(values):
        low, high = intervals[i]
        if kinds[i] == BOTH:
            low, high = mean_level(session_sums(value.T, session)[0].T, counts).interval(confidence)
        lines.append(
            Estimate(
                model=model,
                metric=key,
                value=float(value.mean()),
                low=float(low),
                high=float(high),
                over=kinds[i],
                seeds=len(value),
                spread=float(value.mean(1).std(ddof=1)) if len(value) > 1 else float("nan"),
                tie_share=float(np.mean([ranks.tie_share for ranks in models[model]])),
                sessions=len(counts),
            )
        )
    return lines


def compare(
    models: Mapping[str, Sequence[Ranks]],
    pairs: Sequence[tuple[str, str]],
    metrics: Sequence[str],
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    seed_independent: Collection[str] = (),
) -> list[Comparison]:
    """Paired differences between models; all with a p value, over pairs and metrics, are one family for :func:`holm`.

    Every comparison sees the same resamples, so a pair's line is the same whatever else is compared, and that of the
    pair the other way round is its mirror image.

    Args:
        models: as for :func:`estimate`.
        pairs: ``(model, reference)`` by name.
        metrics: names with their K, such as "P@20".
        resamples: bootstrap resamples, where sessions alone vary; no p value from them is below
            ``2 / (resamples + 1)``.
        seed: of the resampling.
        confidence: of the intervals.
        seed_independent: names of the models that no seed can change.

    Raises:
        UserError: a metric is unknown.
        ValueError: instances differ, or there is none.
    """
    values, session = _all_values(models, metrics)
    sums_of, counts = {}, np.arange(0.0)
    for model, key, value in values:
        sums_of[model, key], counts = session_sums(value.T, session)
    lines = [(model, other, metric_key(name)) for model, other in pairs for name in metrics]
    if not lines:
        return []
    kinds = [_pair_kind([(len(models[name]), name in seed_independent) for name in line[:2]]) for line in lines]
    # A difference of means is the mean of the differences, so that each model is added up and resampled once.
    column = {name: i for i, name in enumerate(sums_of)}
    of_models = np.stack([sums.mean(1) for sums in sums_of.values()], axis=1)
    first, second = ([column[line[side], line[2]] for line in lines] for side in (0, 1))
    sums = of_models[:, first] - of_models[:, second]
    resampled = resampled_means(of_models, counts, resamples, seed)
    means = resampled[:, first] - resampled[:, second]
    intervals = percentile_interval(means, confidence).T
    p = np.where([kind == SESSIONS for kind in kinds], p_values(means), np.nan)
    for i, (model, other, key) in enumerate(lines):
        if kinds[i] == BOTH:
            sides = [_distinct_runs(sums_of[name, key].T, name in seed_independent) for name in (model, other)]
            level = difference_level(*sides, counts)
            intervals[i], p[i] = level.interval(confidence), level.p
    adjusted = np.full(len(p), np.nan)
    adjusted[~np.isnan(p)] = holm(p[~np.isnan(p)])
    effect = effect_sizes(sums, counts)
    equal = (np.abs(sums) < ROUNDING).mean(0)
    return [
        Comparison(
            model=model,
            reference=other,
            metric=key,
            difference=float(sums[:, i].sum() / counts.sum()),
            low=float(intervals[i][0]),
            high=float(intervals[i][1]),
            over=kinds[i],
            p=float(p[i]),
            p_holm=float(adjusted[i]),
            effect=float(effect[i]),
            equal_sessions=float(equal[i]),
            sessions=len(counts),
        )
        for i, (model, other, key) in enumerate(lines)
    ]


def untested(lines: Sequence[Comparison]) -> str:
    """Why some differences have no p value and what to do, in a sentence; empty where all have one."""
    if not any(line.over == THESE_RUNS for line in lines):
        return ""
    return (
        "no p value where a trained model has a single seed: the interval holds for these two trained runs on other "
        "sessions, and another seed of the same model often lies outside it; to compare the models, train at least two "
        "seeds of each, better three (recbole-tme compare --seeds=3)"
    )


def _kind(seeds: int, seed_independent: bool, single: str) -> str:
    """What varies in a model's interval; ``single`` for one seed of a trained model."""
    if seed_independent:
        return SESSIONS
    return BOTH if seeds > 1 else single


def _pair_kind(sides: Sequence[tuple[int, bool]]) -> str:
    """What varies in the interval of a difference, from each side's seeds and whether no seed can change it."""
    kinds = {_kind(*side, THESE_RUNS) for side in sides}
    return next(kind for kind in (THESE_RUNS, BOTH, SESSIONS) if kind in kinds)


def _distinct_runs(values: np.ndarray, seed_independent: bool) -> np.ndarray:
    """A model's values ``[seeds, n]``, one row of them where all are the same by construction."""
    return values[:1] if seed_independent else values


def same_instances(first: Ranks, second: Ranks) -> bool:
    """Whether two rankings are of the same instances in the same order."""
    names = ("target", "session", "length", "is_repeat", "is_last_click")
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)


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


def _bootstrap_intervals(sums, counts, wanted: Sequence[bool], resamples: int, seed: int, confidence: float):
    """Percentile intervals of the columns ``wanted``, ``[C, 2]``; NaN for the others."""
    intervals = np.full((len(wanted), 2), np.nan)
    if any(wanted):
        columns = np.flatnonzero(wanted)
        means = resampled_means(sums[:, columns], counts, resamples, seed)
        intervals[columns] = percentile_interval(means, confidence).T
    return intervals
