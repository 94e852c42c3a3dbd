"""Metrics of one target per instance, from its rank."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from recbole_tme.errors import UserError
from recbole_tme.evaluation.ranks import Ranks, rank_all
from recbole_tme.utils.spelling import did_you_mean

# Each takes the ranks of the targets (float64, 1 = best) and K, and gives the instances' values. With one target,
# NDCG's ideal gain is 1 and average precision is the reciprocal rank.
METRICS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "hit": lambda rank, k: (rank <= k).astype(np.float64),
    "mrr": lambda rank, k: np.where(rank <= k, 1 / rank, 0.0),
    "ndcg": lambda rank, k: np.where(rank <= k, 1 / np.log2(rank + 1), 0.0),
    "precision": lambda rank, k: (rank <= k) / k,
}

# With one target per instance these are the same number; it is computed and printed once. "P" is what the field's
# papers call P@K; RecBole's own Precision@K is Hit@K / K.
SYNONYMS = {"recall": "hit", "p": "hit", "hr": "hit", "map": "mrr"}

DEFAULT_TOPK = (5, 10, 20)
DEFAULT_METRICS = ("Hit", "MRR", "NDCG")


def metric_name(name: str) -> str:
    """The name a metric is reported by, such as "hit" for "Recall".

    Raises:
        UserError: there is no such metric; names the nearest one and all.
    """
    lower = str(name).lower()
    lower = SYNONYMS.get(lower, lower)
    if lower not in METRICS:
        hint = did_you_mean(lower, [*METRICS, *SYNONYMS])
        raise UserError(f"metrics: unknown metric {name!r}{hint} (known: {', '.join([*METRICS, *SYNONYMS])})")
    return lower


def metric_key(name: str, setting: str = "valid_metric") -> str:
    """The key of :func:`evaluate`'s result for a name with its K, such as "hit@20" for "Recall@20".

    Args:
        name: the metric.
        setting: where the name was given, for the message.

    Raises:
        UserError: the metric is unknown or K is not a whole number.
    """
    metric, at, k = str(name).partition("@")
    if not at or not k.isdigit() or int(k) < 1:
        raise UserError(f"{setting}: {name!r} should be a metric and a K, such as MRR@20")
    return f"{metric_name(metric)}@{int(k)}"


def evaluate(
    ranks: Ranks, topk: int | Iterable[int] = DEFAULT_TOPK, metrics: str | Iterable[str] = DEFAULT_METRICS
) -> dict[str, float]:
    """Mean of each metric over the instances.

    Args:
        ranks: of the instances.
        topk: the K, or several.
        metrics: names as in RecBole's ``metrics``, in any case.

    Returns:
        Values such as ``{"hit@20": 0.3255, "mrr@20": 0.1463}``, fractions that are not rounded, each under one name
        (``hit`` for Recall too); NaN where there is no instance.

    Raises:
        UserError: a metric is unknown.
    """
    rank = ranks.rank
    names = list(dict.fromkeys(metric_name(name) for name in _listed(metrics)))
    return {
        f"{name}@{k}": float(METRICS[name](rank, k).mean()) if len(rank) else float("nan")
        for name in names
        for k in _listed(topk)
    }


def slice_masks(ranks: Ranks) -> dict[str, np.ndarray]:
    """The instances by kind of target, bool ``[n]`` each.

    ``all``; ``repeat`` (the target was clicked earlier in its session) and ``new`` (it was not); ``last_click`` (the
    last target of each session, so one instance per session).
    """
    return {
        "all": np.ones(len(ranks), dtype=bool),
        "repeat": ranks.is_repeat,
        "new": ~ranks.is_repeat,
        "last_click": ranks.is_last_click,
    }


def slices(
    ranks: Ranks, topk: int | Iterable[int] = DEFAULT_TOPK, metrics: str | Iterable[str] = DEFAULT_METRICS
) -> dict[str, dict]:
    """Size and metrics of each of :func:`slice_masks`, those without an instance left out.

    Returns:
        Such as ``{"repeat": {"instances": 11757, "metrics": {"hit@20": 0.61, ...}}, ...}``.

    Raises:
        UserError: a metric is unknown.
    """
    return {
        name: {"instances": int(mask.sum()), "metrics": evaluate(ranks.select(mask), topk, metrics)}
        for name, mask in slice_masks(ranks).items()
        if mask.any()
    }


def evaluate_model(
    model,
    loader,
    device,
    topk: int | Iterable[int] = DEFAULT_TOPK,
    metrics: str | Iterable[str] = DEFAULT_METRICS,
    progress: bool = False,
) -> tuple[dict[str, float], Ranks]:
    """Rank every instance of a loader and compute the metrics (see ``rank_all`` and :func:`evaluate`)."""
    ranks = rank_all(model, loader, device, progress)
    return evaluate(ranks, topk, metrics), ranks


def check_metrics(metrics: str | Iterable[str], topk: int | Iterable[int], valid_metric: str, n_items: int) -> str:
    """Refuse before training what would fail or mean nothing after it.

    Args:
        metrics: config key ``metrics``.
        topk: config key ``topk``.
        valid_metric: config key ``valid_metric``.
        n_items: items of the catalogue, padding not counted.

    Returns:
        The key of the validation metric in :func:`evaluate`'s result.

    Raises:
        UserError: a metric is unknown, a K is not a whole number in ``1..n_items``, or the validation metric is not
            among the metrics at one of the K.
    """
    names = [metric_name(name) for name in _listed(metrics)]
    cuts = _listed(topk)
    if not names:
        raise UserError("metrics: no metric is named; set metrics: [Hit, MRR, NDCG]")
    if not cuts:
        raise UserError("topk: no K is named; set topk: [5, 10, 20]")
    for k in cuts:
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise UserError(f"topk: every K must be a whole number of at least 1, not {k!r}")
        if k > n_items:
            raise UserError(f"topk: {k} is more than the {n_items} items of the catalogue; set a smaller K")
    key = metric_key(valid_metric)
    computed = [f"{name}@{k}" for name in dict.fromkeys(names) for k in cuts]
    if key not in computed:
        raise UserError(
            f"valid_metric: {valid_metric!r} is not among metrics and topk{did_you_mean(key, computed, at_least=0.0)} "
            f"(computed: {', '.join(computed)})"
        )
    return key


def _listed(value) -> list:
    return [value] if isinstance(value, (str, int)) else list(value)
