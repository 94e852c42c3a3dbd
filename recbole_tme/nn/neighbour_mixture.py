"""How much of the chance of new items goes by neighbours."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HIDDEN_SIZE = 16
# Where learning the weight of the neighbours begins: at a fifth.
START = -1.4


class NeighbourFacts(NamedTuple):
    """What a session's neighbours are like, ``[B]`` each.

    Attributes:
        mass: the sum of the neighbours' scores over all items that are not in the session; 0 without neighbours.
        strongest: the largest similarity.
        n_neighbours: how many neighbours there are.
        length: clicks of the session.
    """

    mass: Tensor
    strongest: Tensor
    n_neighbours: Tensor
    length: Tensor


class NeighbourMixture(nn.Module):
    """The weight of the neighbours beside a model's own distribution over new items, for each session.

    It is a small network over logarithms of what the neighbours are like and of how sure the model is.

    Shapes:
        ``[B]`` each -> log of the neighbours' weight and log of the model's own, ``[B]`` each; without neighbours the
        weight is 0, its logarithm -inf.

    Source: stacking (Wolpert, 1992).
    """

    def __init__(self) -> None:
        super().__init__()
        self.weigh = nn.Sequential(nn.Linear(5, HIDDEN_SIZE), nn.ReLU(), nn.Linear(HIDDEN_SIZE, 1))

    def forward(self, facts: NeighbourFacts, log_best: Tensor) -> tuple[Tensor, Tensor]:
        """Weigh the neighbours.

        Args:
            facts: of the neighbours.
            log_best: log of the chance of the item that the model thinks the best new one.
        """
        numbers = [
            facts.mass.log1p(),
            facts.strongest.log1p(),
            facts.n_neighbours.log1p(),
            facts.length.log(),
            log_best,
        ]
        logit = START + self.weigh(torch.stack(numbers, dim=1)).squeeze(1)
        logit = logit.masked_fill(facts.mass <= 0, -torch.inf)
        return F.logsigmoid(logit), F.logsigmoid(-logit)
