"""How many targets a model can at most put first: two instances of one session so far get one list."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recbole_tme.data.prefixes import PrefixTable
from recbole_tme.evaluation.ranks import Ranks

# Hits beyond the attainable that rounding explains: scores of one session in batches of other widths may differ in the
# last digit, and with them which of two items of all but equal score is first.
SLACK = 0.01


class Attainable(NamedTuple):
    """The instances whose clicks so far occur more than once with different targets.

    Attributes:
        instances: which they are, bool ``[n]``.
        hits: for how many of them at most the target is first, whatever the model, if it knows the clicks alone.
    """

    instances: np.ndarray
    hits: int


def attainable(table: PrefixTable) -> Attainable:
    """What the best of all functions of the clicks (as a row holds them) reaches on these instances.

    Equal clicks have equal scores, so of the instances that share them only those of one target can have it first;
    items of equal score share their mean rank and are not first.
    """
    target = table.clicks[table.target].numpy()
    clicks = prefix_hashes(table)
    order = np.lexsort((target, clicks))
    clicks, target = clicks[order], target[order]
    new_group = np.append(True, clicks[1:] != clicks[:-1])
    starts = np.flatnonzero(new_group | np.append(True, target[1:] != target[:-1]))
    counts = np.diff(np.append(starts, len(target)))
    group = (np.cumsum(new_group) - 1)[starts]
    most, targets = np.zeros(group[-1] + 1, dtype=np.int64), np.bincount(group)
    np.maximum.at(most, group, counts)
    instances = np.empty(len(order), dtype=bool)
    instances[order] = (targets > 1)[np.cumsum(new_group) - 1]
    return Attainable(instances, int(most[targets > 1].sum()))


def prefix_hashes(table: PrefixTable) -> np.ndarray:
    """A number for each instance's clicks, equal for equal clicks and else different but for a chance of 2^-64,
    uint64 ``[n]``."""
    rng = np.random.default_rng(0)
    clicks, target, length = table.clicks.numpy(), table.target.numpy(), table.prefix_length.numpy()
    of_item = rng.integers(0, 2**64, int(clicks.max()) + 1, dtype=np.uint64)
    factors = rng.integers(0, 2**64, int(length.max()), dtype=np.uint64) | np.uint64(1)
    hashes = np.zeros(len(target), dtype=np.uint64)
    for back, factor in enumerate(factors, start=1):
        rows = np.flatnonzero(length >= back)
        hashes[rows] += of_item[clicks[target[rows] - back]] * factor
    return hashes


def implausible(ranks: Ranks, table: PrefixTable) -> str | None:
    """A line that says so where no model that knows the clicks alone can have these ranks; None where one can.

    Args:
        ranks: of every instance, at mean ranks.
        table: the instances, in the same order.
    """
    best = attainable(table)
    n = int(best.instances.sum())
    hits = int((ranks.rank[best.instances] <= 1).sum())
    if hits <= best.hits + max(3, SLACK * n):
        return None
    return (
        f"P@1 is {100 * hits / n:.2f} on the {n:,} test instances whose clicks occur again with another target; no "
        f"model that knows the clicks alone exceeds {100 * best.hits / n:.2f} there: this one knows more than the "
        f"session"
    )
