"""A model that leaks, for ``recbole-tme leakcheck`` to catch: it looks for similar sessions in the batch it scores.

    recbole-tme leakcheck --plugin=examples/leaky_neighbours.py

In evaluation a batch holds longer prefixes of the same session, and with them the item to be predicted. Several
published models do this; their test figures are far better than what they could do for one user.
"""

from typing import ClassVar

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import nn
from torch.nn import functional as F


class LeakyNeighbours(SequentialRecommender):
    """Mean of the clicked items' vectors, and a bonus for the items of the batch's most similar sessions."""

    input_type = InputType.POINTWISE
    defaults: ClassVar = {"embedding_size": 64, "neighbours": 10}

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.neighbours = config["neighbours"]
        self.item_embedding = nn.Embedding(self.n_items, config["embedding_size"], padding_idx=0)

    def encode(self, clicks):
        present = (clicks > 0).unsqueeze(2)
        return (self.item_embedding(clicks) * present).sum(1) / present.sum(1).clamp(min=1)

    def calculate_loss(self, interaction):
        scores = self.encode(interaction[self.ITEM_SEQ]) @ self.item_embedding.weight.T
        return F.cross_entropy(scores, interaction[self.ITEM_ID])

    def full_sort_predict(self, interaction):
        clicks = interaction[self.ITEM_SEQ]
        session = self.encode(clicks)
        scores = session @ self.item_embedding.weight.T
        # The leak: these "similar sessions" are the other instances of the batch.
        similarity = F.normalize(session, dim=1) @ F.normalize(session, dim=1).T
        weight, nearest = similarity.topk(min(self.neighbours, len(clicks)))
        bonus = torch.zeros_like(scores)
        for i in range(nearest.shape[1]):
            bonus.scatter_add_(1, clicks[nearest[:, i]], weight[:, [i]].expand(-1, clicks.shape[1]))
        return scores + bonus

    def predict(self, interaction):
        return self.full_sort_predict(interaction).gather(1, interaction[self.ITEM_ID].unsqueeze(1)).squeeze(1)
