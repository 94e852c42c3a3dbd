"""Models two by two: which are as good as the best, and on how many sessions one beats another."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from recbole_tme.evaluation.metrics import METRICS, metric_key
from recbole_tme.evaluation.ranks import Ranks
from recbole_tme.evaluation.resampling import ROUNDING, session_sums
from recbole_tme.evaluation.significance import CONFIDENCE, Comparison, Estimate, compare, holm

LEVEL = 1 - CONFIDENCE
# Classes of a session's difference, on either side of 0.
EDGES = (0.05, 0.2, 0.5)


@dataclass(frozen=True)
class Leaders:
    """The best of one metric and who may be as good.

    Attributes:
        metric: such as "hit@20".
        best: name of the model with the highest mean.
        same: models with a p value against the best that, adjusted for the metric's other models, does not tell them
            apart, best first.
        untested: models without a p value against the best, as one of the two has a single seed; best first.
        told: how many models are told from the best.
    """

    metric: str
    best: str
    same: list[str]
    untested: list[str]
    told: int


@dataclass(frozen=True)
class Pair:
    """Two models on the same sessions.

    Attributes:
        line: the first minus the second; ``p_holm`` is adjusted for all pairs of its metric.
        better, equal, worse: sessions on which the first does better than, as well as, and worse than the second.
        bins: sessions by their difference, from the second's largest leads to the first's: under -0.5, -0.5 to -0.2,
            -0.2 to -0.05, -0.05 to 0, equal, 0 to 0.05, and so on.
    """

    line: Comparison
    better: int
    equal: int
    worse: int
    bins: list[int]


def leaders(
    models: Mapping[str, Sequence[Ranks]],
    estimates: Mapping[tuple[str, str], Estimate],
    metrics: Sequence[str],
    seed_independent: Collection[str],
) -> dict[str, Leaders]:
    """The best model of each metric, and those that are not told from it.

    Args:
        models: a model's ranks, one per seed, by its name; all of the same instances.
        estimates: by model and metric.
        metrics: names with their K.
        seed_independent: names of the models that no seed can change.
    """
    ranked = {metric: sorted(models, key=lambda name: (-estimates[name, metric].value, name)) for metric in metrics}
    found = {}
    for best in dict.fromkeys(names[0] for names in ranked.values()):
        pairs = [(name, best) for name in models if name != best]
        lines = compare(models, pairs, metrics, seed_independent=seed_independent)
        for metric in metrics:
            if ranked[metric][0] == best:
                found[metric] = _leaders(metric, ranked[metric], [line for line in lines if line.metric == metric])
    return {metric: found[metric] for metric in metrics}


def _leaders(metric: str, ranked: Sequence[str], lines: Sequence[Comparison]) -> Leaders:
    adjusted = {line.model: p for line, p in zip(lines, _adjusted(lines)) if not math.isnan(p)}
    same = [name for name in ranked if adjusted.get(name, 0.0) >= LEVEL]
    untested = [name for name in ranked[1:] if name not in adjusted]
    return Leaders(metric, ranked[0], same, untested, len(adjusted) - len(same))


def pairs(
    models: Mapping[str, Sequence[Ranks]], metrics: Sequence[str], seed_independent: Collection[str]
) -> list[Pair]:
    """Every pair of models, each in the order given, by metric.

    Args:
        models: as for :func:`leaders`.
        metrics: names with their K.
        seed_independent: as for :func:`leaders`.
    """
    means = {(name, metric): session_means(runs, metric) for name, runs in models.items() for metric in metrics}
    named = list(combinations(models, 2))
    found = []
    lines = compare(models, named, metrics, seed_independent=seed_independent)
    for metric in metrics:
        of_metric = [line for line in lines if line.metric == metric]
        for line, adjusted in zip(of_metric, _adjusted(of_metric)):
            difference = means[line.model, metric] - means[line.reference, metric]
            found.append(_pair(replace(line, p_holm=adjusted), difference))
    return found


def _adjusted(lines: Sequence[Comparison]) -> list[float]:
    """P values adjusted for one another; NaN where there is none."""
    p = np.array([line.p for line in lines])
    p[~np.isnan(p)] = holm(p[~np.isnan(p)])
    return p.tolist()


def session_means(runs: Sequence[Ranks], metric: str) -> np.ndarray:
    """A metric of each session, mean over its instances and the runs, ``[S]``."""
    name, _, k = metric_key(metric).partition("@")
    values = np.mean([METRICS[name](ranks.rank, int(k)) for ranks in runs], axis=0)
    sums, counts = session_sums(values[:, None], runs[0].session)
    return sums[:, 0] / counts


def _pair(line: Comparison, difference: np.ndarray) -> Pair:
    sign = np.where(np.abs(difference) < ROUNDING, 0, np.sign(difference)).astype(int)
    size = np.searchsorted(EDGES, np.abs(difference), side="right") + 1
    bins = np.bincount(sign * size + len(EDGES) + 1, minlength=2 * len(EDGES) + 3)
    return Pair(line, int((sign > 0).sum()), int((sign == 0).sum()), int((sign < 0).sum()), bins.tolist())
