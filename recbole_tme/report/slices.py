"""Metrics of the models on parts of the test set: by session length, by popularity and by kind of the target."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from recbole_tme.evaluation.metrics import slice_masks
from recbole_tme.evaluation.ranks import Ranks
from recbole_tme.evaluation.significance import Estimate, estimate
from recbole_tme.runs.itemlist import ItemList

# Clicks before the target, first and last; the last class is open.
LENGTHS = ((1, 1), (2, 2), (3, 5), (6, 10), (11, None))
POPULARITY_CLASSES = 5
# Every slice is resampled on its own, and its intervals are read to a tenth of a point.
SLICE_RESAMPLES = 2_000
# Resampling fewer sessions than this says nothing of how others would do.
FEWEST_SESSIONS = 10
LAST_CLICK = "last of its session"
KINDS = {"repeat": "repeated", "new": "new", "last_click": LAST_CLICK}


@dataclass(frozen=True)
class Slice:
    """Some test instances and how the models do on them.

    Attributes:
        name: such as "3-5 clicks".
        instances, sessions: how many.
        estimates: by model and metric; intervals are NaN for fewer than ten sessions.
    """

    name: str
    instances: int
    sessions: int
    estimates: dict[tuple[str, str], Estimate]


@dataclass(frozen=True)
class SliceGroup:
    """One way to cut the test set.

    Attributes:
        key: such as "length".
        title: the same in words.
        ordered: whether the slices have an order that a curve can follow.
        slices: those that hold an instance.
    """

    key: str
    title: str
    ordered: bool
    slices: list[Slice]


def slice_groups(
    models: Mapping[str, Sequence[Ranks]],
    metrics: Sequence[str],
    catalogue: ItemList | None,
    seed_independent: Collection[str] = (),
) -> list[SliceGroup]:
    """Every cut of the test set.

    Args:
        models: a model's ranks, one per seed, by its name; all of the same instances.
        metrics: names with their K.
        catalogue: clicks per item, for the cut by popularity; ``None`` leaves it out.
        seed_independent: names of the models that no seed can change.
    """
    ranks = next(iter(models.values()))[0]
    kinds = {shown: slice_masks(ranks)[name] for name, shown in KINDS.items()}
    cuts = [
        ("target", "kind of target", False, kinds),
        ("length", "clicks before the target", True, length_masks(ranks.length)),
    ]
    if catalogue is not None:
        cuts.append(("popularity", "clicks of the target in training", True, popularity_masks(ranks, catalogue.clicks)))

    def slices(masks: Mapping[str, np.ndarray]) -> list[Slice]:
        return [_slice(n, mask, models, metrics, seed_independent) for n, mask in masks.items() if mask.any()]

    return [SliceGroup(key, title, ordered, slices(masks)) for key, title, ordered, masks in cuts]


def length_masks(length: np.ndarray) -> dict[str, np.ndarray]:
    """Instances by the clicks before their target, ``[n]`` bool each."""
    masks = {}
    for first, last in LENGTHS:
        name = f">{first - 1}" if last is None else str(first) if first == last else f"{first}–{last}"
        masks[name] = (length >= first) & (length <= (np.inf if last is None else last))
    return masks


def popularity_masks(ranks: Ranks, clicks: np.ndarray) -> dict[str, np.ndarray]:
    """Instances by their target's clicks in training, ``[n]`` bool each: none, and classes of a fifth of all clicks.

    Args:
        ranks: of the instances.
        clicks: per item, ``clicks[i]`` of item ``i + 1``, ``[N]``.
    """
    own = clicks[ranks.target - 1]
    group = popularity_classes(clicks)[ranks.target - 1]
    masks = {"0, unseen": group == 0}
    for number in range(1, POPULARITY_CLASSES + 1):
        mask = group == number
        if mask.any():
            low, high = own[mask].min(), own[mask].max()
            masks[f"{low:,}" if low == high else f"{low:,}–{high:,}"] = mask
    return masks


def popularity_classes(clicks: np.ndarray) -> np.ndarray:
    """Class of each item, ``[N]``: 0 without a click, else 1 (few clicks) to 5 (many), each with about a fifth of all.

    Items of equal clicks share the class in which the middle of their clicks lies.
    """
    values, inverse = np.unique(clicks, return_inverse=True)
    mass = np.bincount(inverse, weights=clicks)
    middle = np.cumsum(mass) - mass / 2
    group = 1 + np.minimum(POPULARITY_CLASSES * middle / max(1, mass.sum()), POPULARITY_CLASSES - 1).astype(int)
    return np.where(values > 0, group, 0)[inverse]


def _slice(
    name: str,
    mask: np.ndarray,
    models: Mapping[str, Sequence[Ranks]],
    metrics: Sequence[str],
    seed_independent: Collection[str],
) -> Slice:
    parts = {model: [ranks.select(mask) for ranks in runs] for model, runs in models.items()}
    sessions = len(np.unique(next(iter(parts.values()))[0].session))
    lines = estimate(parts, metrics, resamples=SLICE_RESAMPLES, seed_independent=seed_independent)
    if sessions < FEWEST_SESSIONS:
        lines = [replace(line, low=float("nan"), high=float("nan")) for line in lines]
    return Slice(name, int(mask.sum()), sessions, {(line.model, line.metric): line for line in lines})
