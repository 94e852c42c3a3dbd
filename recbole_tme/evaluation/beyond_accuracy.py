"""RecBole's metrics of what is recommended rather than of what is hit, with RecBole's own definitions and names.

They are of the lists of the K best items of all instances, which ranks do not hold: a pass over the scores counts how
often each item is in one. RecBole counts the padding among the items of the catalogue and the targets of training
instances as an item's clicks; so do these, to be comparable with figures from elsewhere. ``details.json`` has coverage,
popularity and Gini index over the items alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from recbole_tme.config.resolution import OF_LISTS, split_metrics
from recbole_tme.evaluation.metrics import evaluate
from recbole_tme.evaluation.ranks import Ranks
from recbole_tme.nn import distributed


def _coverage(counts: np.ndarray, clicks: np.ndarray, tail: np.ndarray) -> float:
    return float(np.count_nonzero(counts) / len(counts))


def _popularity(counts: np.ndarray, clicks: np.ndarray, tail: np.ndarray) -> float:
    return float(counts @ clicks / counts.sum())


def _entropy(counts: np.ndarray, clicks: np.ndarray, tail: np.ndarray) -> float:
    share = counts[counts > 0] / counts.sum()
    # RecBole divides the entropy by the number of items that are recommended.
    return float(-(share * np.log(share)).sum() / len(share))


def gini(counts: np.ndarray) -> float:
    """Gini index of numbers of at least 0, not all of them 0: 0 where they are equal, 1 - 1/n where one has all."""
    n = len(counts)
    place = 2 * np.arange(1, n + 1) - n - 1
    return float(place @ np.sort(counts) / (n * counts.sum()))


def _inequality(counts: np.ndarray, clicks: np.ndarray, tail: np.ndarray) -> float:
    return gini(counts)


def _tail_share(counts: np.ndarray, clicks: np.ndarray, tail: np.ndarray) -> float:
    return float(counts[tail].sum() / counts.sum())


# By RecBole's name: counts of each item in the lists, its clicks and the rare items' ids make a figure.
METRICS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], float]] = dict(
    zip(OF_LISTS, (_coverage, _popularity, _entropy, _inequality, _tail_share), strict=True)
)
BY_KEY = {name.lower(): name for name in METRICS}
# These are no fractions, which are shown in per cent.
NO_FRACTIONS = ("averagepopularity", "shannonentropy")


def best_items(scores: Tensor, k: int) -> Tensor:
    """The ``k`` best-scored items of each row, best first, int64 ``[B, k]`` on the CPU; the padding is none of them."""
    return scores[:, 1:].topk(k).indices.cpu() + 1


class BeyondAccuracy:
    """Counts which items are among the K best, as ``rank_all``'s ``observe``, and makes the metrics of the counts.

    Args:
        metrics: names among :data:`METRICS`.
        topk: the K.
        clicks: training instances with each item as target, ``[N + 1]``, 0 for the padding.
        tail_ratio: which items count as rare ones: above 1, those of at most so many clicks; otherwise this share of
            the items with a click.
    """

    def __init__(self, metrics: Iterable[str], topk: Iterable[int], clicks: np.ndarray, tail_ratio: float):
        self.names = list(metrics)
        self.clicks = clicks
        self.tail = rare_items(clicks, tail_ratio)
        self._counts = {k: torch.zeros(len(clicks), dtype=torch.long) for k in sorted(topk)}

    def __call__(self, scores: Tensor, index: Tensor) -> None:
        best = best_items(scores, max(self._counts))
        for k, counts in self._counts.items():
            counts += torch.bincount(best[:, :k].flatten(), minlength=len(counts))

    def result(self) -> dict[str, float]:
        """Each metric at each K over the instances of all processes, such as ``{"itemcoverage@20": 0.43}``; NaN without
        an instance."""
        counts = {k: distributed.total(counts).numpy() for k, counts in self._counts.items()}
        return {
            f"{name.lower()}@{k}": METRICS[name](counts[k], self.clicks, self.tail) if counts[k].any() else float("nan")
            for name in self.names
            for k in counts
        }


def asked_for(settings: Mapping, dataset) -> BeyondAccuracy | None:
    """What the settings ask for of these metrics, if anything.

    Args:
        settings: a run's.
        dataset: the training part of a ``SessionDataset``.
    """
    _, names = split_metrics(settings["metrics"])
    if not names:
        return None
    topk = [settings["topk"]] if isinstance(settings["topk"], int) else settings["topk"]
    clicks = np.bincount(dataset.instance_arrays()["target"], minlength=dataset.item_num)
    return BeyondAccuracy(names, topk, clicks, settings["tail_ratio"])


def measured(settings: Mapping, ranks: Ranks, beyond: BeyondAccuracy | None) -> dict[str, float]:
    """Every metric that the settings ask for: those of the ranks, then those of the lists that ``beyond`` counted."""
    accuracy, _ = split_metrics(settings["metrics"])
    return evaluate(ranks, settings["topk"], accuracy) | (beyond.result() if beyond is not None else {})


def rare_items(clicks: np.ndarray, tail_ratio: float) -> np.ndarray:
    """Ids of the rare ones among the items with a click; of those of equally many clicks, the first."""
    clicked = np.flatnonzero(clicks)
    if tail_ratio > 1:
        return clicked[clicks[clicked] <= tail_ratio]
    order = clicked[np.argsort(clicks[clicked], kind="stable")]
    return order[: max(1, int(len(order) * tail_ratio))]
