"""Item vectors that are partly learned for each item and partly made from what is known of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class ItemContent(nn.Module):
    """A table of item vectors plus a linear map of the items' features.

    Registered as a parametrization of an embedding's ``weight`` (:func:`add_content`), so that whatever reads the
    table, for input or for scores, gets the sum. In training the learned part of each item is dropped with probability
    ``dropout`` in every use of the table, so that the map learns to work alone; it has to for items without a
    training click, whose learned part means nothing. These are left out of training: they would be learned as what
    is never clicked.

    Args:
        features: what is known of each item, ``[N + 1, c]``; zeros in row 0, which is padding, and where nothing is
            known.
        is_trained: whether an item has a training click, bool ``[N + 1]``.
        size: of an item vector.
        dropout: of the learned part, in [0, 1).
        recipe: bytes that say how features are made, uint8 ``[n]``; kept beside the features, for items that are new.

    Shapes:
        learned table ``[N + 1, d]`` -> item vectors ``[N + 1, d]``; row 0 is zeros.

    Source: the dropout is that of DropoutNet (Volkovs et al., NeurIPS 2017).
    """

    features: Tensor
    is_trained: Tensor
    recipe: Tensor

    def __init__(self, features: Tensor, is_trained: Tensor, size: int, dropout: float, recipe: Tensor):
        super().__init__()
        self.map = nn.Linear(features.shape[1], size, bias=False)
        self.dropout = dropout
        is_trained = is_trained.clone()
        is_trained[0] = False
        self.register_buffer("features", features)
        self.register_buffer("is_trained", is_trained)
        self.register_buffer("recipe", recipe)
        self._kept: tuple[tuple[int, ...], Tensor] | None = None

    def forward(self, table: Tensor) -> Tensor:
        """The item vectors; without gradients they are made once for each state of the weights."""
        if self.training:
            kept = torch.rand(len(table), 1, device=table.device) >= self.dropout
            return self._sum(kept * table) * self.is_trained.unsqueeze(1)
        learned = self.is_trained.unsqueeze(1)
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or table.is_inference():
            return self._sum(learned * table)
        parts = (table, self.map.weight, self.features, self.is_trained)
        state = tuple(number for part in parts for number in (part.data_ptr(), part._version))
        if self._kept is None or self._kept[0] != state:
            self._kept = state, self._sum(learned * table)
        return self._kept[1]

    def _sum(self, learned: Tensor) -> Tensor:
        mapped: Tensor = self.map(self.features)
        return learned + mapped

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # How long the recipe is is known from what is loaded.
        stored = state_dict.get(prefix + "recipe")
        if stored is not None:
            self.recipe = self.recipe.new_empty(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def train(self, mode: bool = True) -> ItemContent:
        """As for any module; forgets the vectors that were made."""
        self._kept = None
        return super().train(mode)


def add_content(
    embedding: nn.Embedding, features: Tensor, is_trained: Tensor, dropout: float, recipe: Tensor | None = None
) -> None:
    """Let an embedding's ``weight`` be the sum of what it learns and a map of features; see :class:`ItemContent`."""
    if recipe is None:
        recipe = torch.zeros(0, dtype=torch.uint8)
    content = ItemContent(features, is_trained, embedding.embedding_dim, dropout, recipe)
    parametrize.register_parametrization(embedding, "weight", content)


def content_of(embedding: nn.Module) -> ItemContent | None:
    """What :func:`add_content` added; None where it was not called."""
    if not parametrize.is_parametrized(embedding, "weight"):
        return None
    content = embedding.get_submodule("parametrizations.weight.0")
    return content if isinstance(content, ItemContent) else None


def fix_content(embedding: nn.Module) -> None:
    """Put the sum in the place of its parts, as they are in evaluation, for good."""
    if content_of(embedding) is not None:
        parametrize.remove_parametrizations(embedding, "weight", leave_parametrized=True)
