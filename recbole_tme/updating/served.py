"""The model of before the update, asked about sessions of the new catalogue: as it would go on to answer."""

from __future__ import annotations

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.prefixes import FieldNames
from recbole_tme.evaluation.ranks import scorer


class Served(nn.Module):
    """A model over its old catalogue, with scores over a new one.

    As in serving, clicks on unknown items are left out of a session, a session without a known item is answered by
    popularity, and items that the model does not know are never recommended (their score is minus infinity).

    Args:
        model: over the old catalogue, in evaluation mode.
        dataset: the data set that it was made with.
        rows: the old row of each new item, ``[N + 1]``, -1 for those that are new.
        config: the model's.
    """

    def __init__(self, model: nn.Module, dataset: SessionDataset, rows: np.ndarray, config):
        super().__init__()
        self.model = model
        self.names = FieldNames.of(config)
        device = config["device"]
        self.rows = torch.from_numpy(rows).clamp(min=0).to(device)
        self.known = (self.rows > 0).nonzero().squeeze(1)
        self.score = scorer(model, dataset, device)
        clicks = torch.bincount(dataset.inter_feat.clicks.long(), minlength=dataset.item_num)
        self.popularity = clicks.float().to(device)[self.rows[self.known]]

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Scores of the new catalogue, ``[B, N + 1]``; column 0 is padding."""
        items = self.rows[interaction[self.names.item_list]]
        is_known = items > 0
        # Known clicks first, in their order.
        items = items.gather(1, torch.argsort((~is_known).long(), dim=1, stable=True))
        lengths = is_known.sum(1)
        unknown = lengths == 0
        items[unknown, 0] = 1
        asked = {
            self.names.session: torch.zeros_like(lengths),
            self.names.item_list: items,
            self.names.item: torch.ones_like(lengths),
            self.names.length: lengths.clamp(min=1),
        }
        of_known = self.score(Interaction(asked))[:, self.rows[self.known]]
        of_known = torch.where(unknown.unsqueeze(1), self.popularity.to(of_known.dtype), of_known)
        scores = of_known.new_full((len(items), len(self.rows)), -torch.inf)
        scores[:, self.known] = of_known
        return scores
