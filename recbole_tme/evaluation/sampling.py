"""A metric from a sample of a split's instances, and how far it may be from that of all of them."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch

from recbole_tme.data.loader import SessionEvalLoader
from recbole_tme.evaluation.metrics import METRICS
from recbole_tme.evaluation.ranks import Ranks
from recbole_tme.evaluation.resampling import session_sums

# Of the draw. The same for every seed of a run, so that all models and epochs are seen on the same instances.
DRAW = 0
# Standard deviations to either side of a mean that make an interval of 95 %.
TWO_SIDED = 1.96


def sampled(loader: SessionEvalLoader, n: int | None) -> SessionEvalLoader:
    """A loader of ``n`` of the instances, drawn uniformly, in their order; the loader itself where it has no more.

    Args:
        loader: of all instances of a split.
        n: None for all.
    """
    dataset = loader.dataset
    if n is None or n >= len(dataset):
        return loader
    drawn = np.random.default_rng(DRAW).choice(len(dataset), n, replace=False)
    part = copy.copy(dataset.inter_feat)
    part._reindex(torch.from_numpy(np.sort(drawn)))
    return SessionEvalLoader(loader.config, dataset.copy(part))


def half_width(ranks: Ranks, metric: str, population: int) -> float:
    """Half the width of the 95 % interval of a metric's mean over all instances, from a sample of them.

    Instances of one session are not independent, so that sessions are what varies: the variance is that of a ratio of
    sums over sessions, with the correction for a sample without replacement.

    Args:
        ranks: of the sample.
        metric: such as "mrr@20".
        population: instances that the sample was drawn from.

    Source: ratio estimator for clusters (Cochran, Sampling Techniques, 1977, chapter 6).
    """
    name, _, k = metric.partition("@")
    values = METRICS[name](ranks.rank, int(k))
    sums, counts = session_sums(values[:, None], ranks.session)
    deviations = sums[:, 0] - values.mean() * counts
    share = len(values) / population
    return TWO_SIDED * math.sqrt(max(0.0, 1 - share) * float((deviations**2).sum())) / len(values)
