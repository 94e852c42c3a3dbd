"""``recbole-tme leakcheck``: does a session's score depend on the sessions that happen to be evaluated beside it?

The test instances of this field are the prefixes of a few sessions, so a batch holds, beside a prefix, longer ones of
the same session, and with them its target. A model that looks for similar sessions within the batch reads the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tme.config.load import SessionConfig
from recbole_tme.data.loader import SessionEvalLoader
from recbole_tme.evaluation.metrics import METRICS
from recbole_tme.evaluation.ranks import SCORES_AT_ONCE, scorer, target_ranks
from recbole_tme.utils import tabular

# Of the range of the instance's scores; float32 sums of other widths differ by a hundredth of it.
TOLERANCE = 1e-4
K = 20
VARIATIONS = {
    "repeated": "scored a second time",
    "alone": "alone, without batch mates",
    "reversed": "batch in reversed order",
    "padded": "padded to the longest session allowed",
}


@dataclass
class Findings:
    """What :func:`check_leaks` found.

    Attributes:
        moved: by variation, the largest change of any item's score of each instance, see :func:`largest_moves`,
            float64 ``[n]``.
        rank_in_batch, rank_alone: the target's rank among its batch mates' sessions and alone, float64 ``[n]``.
    """

    moved: dict[str, np.ndarray] = field(default_factory=dict)
    rank_in_batch: np.ndarray = field(default_factory=lambda: np.empty(0))
    rank_alone: np.ndarray = field(default_factory=lambda: np.empty(0))

    def share(self, variation: str) -> float:
        """Share of instances with a score that moves beyond rounding."""
        return float((self.moved[variation] > TOLERANCE).mean())

    @property
    def leaks(self) -> bool:
        return any(self.share(variation) > 0 for variation in self.moved)


@torch.no_grad()
def check_leaks(model: nn.Module, loader: SessionEvalLoader, config: SessionConfig, instances: int = 2048) -> Findings:
    """Score test instances in batches, and again as in each of ``VARIATIONS``.

    Batches are runs of neighbouring instances in the data set's order, spread over it, so that the prefixes of a
    session stand together as they do in RecBole's evaluation.

    Args:
        model: any RecBole sequential model, in evaluation mode.
        loader: of the test instances.
        config: its ``eval_batch_size`` and ``MAX_ITEM_LIST_LENGTH`` hold here too.
        instances: how many to score, at most.

    Raises:
        ValueError: the model scores another number of items than the data set has.
        NonFiniteScores: a score is NaN.
    """
    test = loader.dataset
    score = scorer(model, test, config["device"])
    item_list = config["ITEM_ID_FIELD"] + config["LIST_SUFFIX"]
    moved, ranks = {name: [] for name in VARIATIONS}, []
    size = max(1, min(config["eval_batch_size"], SCORES_AT_ONCE // test.item_num))
    for rows in _spread_batches(len(test), instances, size):
        batch = loader.transform(test, test[rows]).to(config["device"])
        scores = score(batch)
        alone = torch.cat([score(batch[slice(i, i + 1)]) for i in range(len(batch))])
        backwards = torch.arange(len(batch) - 1, -1, -1)
        varied = {
            "repeated": score(batch),
            "alone": alone,
            "reversed": score(batch[backwards])[backwards],
            "padded": score(_padded(batch, item_list, config["MAX_ITEM_LIST_LENGTH"])),
        }
        for name, other in varied.items():
            moved[name].append(largest_moves(scores, other))
        target = batch[config["ITEM_ID_FIELD"]]
        ranks.append(torch.stack([_mean_rank(given, target) for given in (scores, alone)]))
    in_batch, by_itself = torch.cat(ranks, dim=1).cpu().numpy()
    return Findings({name: torch.cat(parts).cpu().numpy() for name, parts in moved.items()}, in_batch, by_itself)


def largest_moves(scores: Tensor, other: Tensor) -> Tensor:
    """Largest difference of two scorings of each row, relative to the range of its finite scores.

    Untrained models score all items within a hair's breadth, so an absolute tolerance would see nothing. Scores that
    are all but equal count as if they had a range of a hundredth of their size. Infinite scores move only if the other
    is not the same infinity. Column 0 is padding and left out.

    Args:
        scores, other: ``[B, n]``.

    Returns:
        float64 ``[B]``.
    """
    scores, other = scores[:, 1:].double(), other[:, 1:].double()
    difference = torch.where(scores == other, 0.0, (scores - other).abs()).amax(1)
    finite = scores.isfinite()
    highest = torch.where(finite, scores, -torch.inf).amax(1)
    lowest = torch.where(finite, scores, torch.inf).amin(1)
    size = torch.maximum(highest.abs(), lowest.abs())
    scale = torch.maximum(highest - lowest, size / 100)
    return torch.where(difference > 0, difference / scale, 0.0)


def report(found: Findings, config: SessionConfig) -> str:
    """The findings in words and as a table."""
    n = len(found.rank_alone)
    rows = []
    for name, moves in found.moved.items():
        rows.append([VARIATIONS[name], f"{100 * found.share(name):.2f} %", f"{moves.max():.1e}"])
    lines = [
        f"{config.registered_name} on {config['dataset']}: {n:,} test instances, tolerance {TOLERANCE:g}",
        tabular.aligned(["compared with the batch as it is", "instances moved", "largest move"], rows),
        f"P@20 / MRR@20 of these instances in batches {_shown(found.rank_in_batch)}, alone {_shown(found.rank_alone)}",
        "LEAKS: scores depend on more than the session" if found.leaks else "no leak found",
    ]
    return "\n".join(lines)


def _shown(rank: np.ndarray) -> str:
    return " / ".join(f"{100 * METRICS[name](rank, K).mean():.2f}" for name in ("hit", "mrr"))


def _spread_batches(n: int, instances: int, size: int) -> Iterator[Tensor]:
    """Runs of at most ``size`` neighbouring rows, evenly spread over ``n``, about ``instances`` in all."""
    size = min(size, instances, n)
    count = max(1, round(min(instances, n) / size))
    for start in np.linspace(0, n - size, count).astype(int):
        yield torch.arange(start, start + size)


def _padded(batch: Interaction, item_list: str, width: int) -> Interaction:
    """The batch with its item lists as wide as any session may be."""
    fields: Mapping[str, Tensor] = batch.interaction
    lists = fields[item_list]
    return Interaction({**fields, item_list: F.pad(lists, (0, max(0, width - lists.shape[1])))})


def _mean_rank(scores: Tensor, target: Tensor) -> Tensor:
    better, tied = target_ranks(scores, target)
    return 1 + better.double() + tied.double() / 2
