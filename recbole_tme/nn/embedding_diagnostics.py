"""How degenerate a table of item vectors is: do the items share a direction, a subspace, a place?

Models trained by a softmax over the catalogue tend to push their item vectors into a narrow cone, in which popular
items are long and rare ones alike (Gao et al., "Representation Degeneration Problem in Training Natural Language
Generation Models", ICLR 2019). Every figure here is computed in float64 on the CPU and does not change when the table
is rotated or scaled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor, nn

from recbole_tme.nn.unit import unit_rows

# Items compared with the whole table, where it has more: all pairs of 60,000 items take minutes.
ANCHORS = 5_000
# Similarities held at once.
PAIRS = 2**22
# Of the Gaussian potential, as in Wang & Isola.
UNIFORMITY_SCALE = 2.0


@dataclass(frozen=True)
class Diagnosis:
    """The figures of one table of N item vectors of d dimensions.

    Attributes:
        items, dimensions: N and d.
        mean_cosine: mean cosine over all pairs of items, in [-1/(N-1), 1]; 0 is spread out, 1 is one direction.
        mean_cosine_centred: the same after the mean vector is subtracted.
        singular_area: mean of ``singular_values``, the area under their curve, in (0, 1]; 1 is isotropic.
        effective_rank: see :func:`effective_rank`, in [1, min(N, d)].
        uniformity: see :func:`neighbourhoods`, in [-8, 0]; lower is more uniform.
        nearest_distance: mean distance of an item to its nearest other item on the unit sphere, in [0, 2].
        anchors: items that ``uniformity`` and ``nearest_distance`` compare with all others: N where they are exact.
        norm_popularity: Spearman's correlation of vector norm and popularity; None where either is constant.
        singular_values: singular values divided by the largest, descending, ``min(N, d)`` of them.
    """

    items: int
    dimensions: int
    mean_cosine: float
    mean_cosine_centred: float
    singular_area: float
    effective_rank: float
    uniformity: float
    nearest_distance: float
    anchors: int
    norm_popularity: float | None
    singular_values: list[float]


def diagnose(vectors: Tensor, popularity: NDArray[Any], anchors: int = ANCHORS, seed: int = 0) -> Diagnosis:
    """Compute every figure.

    Args:
        vectors: the item vectors without the padding row, ``[N, d]``, at least two, all finite.
        popularity: how often each item occurs, ``[N]``.
        anchors: see :func:`neighbourhoods`.
        seed: of the choice of anchors.

    Raises:
        ValueError: there are fewer than two vectors, or popularity is of another number of items.
    """
    if len(vectors) < 2 or len(popularity) != len(vectors):
        raise ValueError(f"{len(vectors)} vectors and {len(popularity)} popularities; two of each at least")
    vectors = vectors.detach().cpu().double()
    values = singular_values(vectors)
    uniformity, nearest = neighbourhoods(vectors, anchors, seed)
    return Diagnosis(
        items=len(vectors),
        dimensions=vectors.shape[1],
        mean_cosine=mean_cosine(vectors),
        mean_cosine_centred=mean_cosine(vectors - vectors.mean(0)),
        singular_area=float(values.mean()),
        effective_rank=effective_rank(values),
        uniformity=uniformity,
        nearest_distance=nearest,
        anchors=min(anchors, len(vectors)),
        norm_popularity=rank_correlation(vectors.norm(dim=1).numpy(), popularity),
        singular_values=values.tolist(),
    )


def item_vectors(model: nn.Module, n_items: int) -> Tensor | None:
    """The item embedding table of a model without its padding row, ``[n_items - 1, d]``.

    That is the ``nn.Embedding`` called ``item_embedding``, that of a model inside the model included, or else the only
    one with a row per item. Rows behind the items (BERT4Rec's mask token) are left out.

    Args:
        model: any model.
        n_items: rows of the table, padding counted.

    Returns:
        The table, or None where there is none, or more than one that could be meant.
    """
    tables = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and module.num_embeddings >= n_items
    }
    found = [table for name, table in tables.items() if name.rpartition(".")[2] == "item_embedding"]
    found = found or [table for table in tables.values() if table.num_embeddings == n_items]
    return found[0].weight.detach()[1:n_items] if len(found) == 1 else None


def mean_cosine(vectors: Tensor) -> float:
    """Mean cosine over all pairs of different rows, exact in O(N d): with unit rows u, ``(|Σu|² − Σ|u|²) / (N(N−1))``.

    Args:
        vectors: ``[N, d]``, N at least 2.
    """
    unit, n = unit_rows(vectors), len(vectors)
    return float((unit.sum(0).square().sum() - unit.square().sum()) / (n * (n - 1)))


def singular_values(vectors: Tensor) -> Tensor:
    """Singular values divided by the largest, descending, ``[min(N, d)]``; zeros for a table of zeros."""
    values: Tensor = torch.linalg.svdvals(vectors)
    return values / values[0] if values[0] > 0 else values


def effective_rank(values: Tensor) -> float:
    """Exponential of the entropy of singular values as shares of their sum (Roy & Vetterli, EUSIPCO 2007).

    Args:
        values: singular values, ``[k]``, on any scale.

    Returns:
        Between 1 (one direction) and k (all alike); 0 for a table of zeros.
    """
    total = values.sum()
    if total == 0:
        return 0.0
    share = values / total
    return float(torch.special.entr(share).sum().exp())


def neighbourhoods(vectors: Tensor, anchors: int = ANCHORS, seed: int = 0) -> tuple[float, float]:
    """Uniformity of the directions, and the mean distance of an item to its nearest other item.

    Uniformity (Wang & Isola, ICML 2020) is ``log mean exp(−2 |u − v|²)`` over pairs of different items' unit vectors:
    0 where all point the same way, −4 or so for directions that are spread out. Both figures take every pair where
    there are at most ``anchors`` items; else a random sample of so many items, each compared with all others.

    Args:
        vectors: ``[N, d]``, N at least 2.
        anchors: how many items to compare with all others at most.
        seed: of the sample.
    """
    unit, n = unit_rows(vectors), len(vectors)
    chosen = np.arange(n)
    if n > anchors:
        chosen = np.sort(np.random.default_rng(seed).choice(n, anchors, replace=False))
    potential, nearest = 0.0, 0.0
    squares = unit.square().sum(1)
    for rows in torch.from_numpy(chosen).split(max(1, PAIRS // n)):
        distance = (squares[rows, None] + squares - 2 * unit[rows] @ unit.T).clamp_(min=0)
        own = torch.arange(len(rows)), rows
        distance[own] = torch.inf
        nearest += float(distance.amin(1).sqrt().sum())
        potential += float(distance.mul_(-UNIFORMITY_SCALE).exp_().sum())
    return float(np.log(potential / (len(chosen) * (n - 1)))), nearest / len(chosen)


def rank_correlation(first: NDArray[Any], second: NDArray[Any]) -> float | None:
    """Spearman's correlation, ties at their mean rank; None where either is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(spearmanr(first, second).statistic)
