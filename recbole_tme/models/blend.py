"""Several trained models as one: their chances are mixed, with weights learned on validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from recbole_tme.errors import UserError
from recbole_tme.models import registry
from recbole_tme.models.foundation import InputType, SequentialRecommender
from recbole_tme.models.settings import Settings
from recbole_tme.models.training_free.base import TrainingFree
from recbole_tme.nn.blending import Chances, mix_chances, split_chances


class Blend(SequentialRecommender):
    """A mixture of finished runs' models, ours, RecBole's or training-free, as ``members`` names them.

    Of a trained member the scores become chances by a softmax at a temperature of its own, of a training-free one by
    their sum. The chances of a repeat are averaged; those of the session's items are multiplied, and those of all other
    items. Each of the three has weights of its own, under which the targets of validation rank best. Nothing else is
    trained: the members' weights are those of their runs, and are part of this model's state.

    Source: linear and logarithmic opinion pools (Genest and Zidek, 1986).
    """

    input_type = InputType.POINTWISE

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        runs, settings = config["members"] or [], config["member_settings"] or []
        if len(runs) != len(settings):
            raise UserError("members: only recbole-tme run and compare make a blend of runs; use one of them")
        self.members = nn.ModuleList(_member(Settings(each, device=config["device"]), dataset) for each in settings)
        self.register_buffer("weights", torch.full((3, len(runs)), 1 / max(1, len(runs))))
        self.register_buffer("temperatures", torch.ones(len(runs)))

    @classmethod
    def check_settings(cls, settings: dict[str, Any]) -> None:
        """Bring ``members`` into the form of a list."""
        if isinstance(settings["members"], str):
            settings["members"] = [part.strip() for part in settings["members"].split(",") if part.strip()]

    def scores_of(self, member: nn.Module, interaction) -> Tensor:
        """A member's scores, ``[B, N + 1]``."""
        return member.full_sort_predict(interaction).view(len(interaction[self.ITEM_SEQ]), -1)

    def chances(self, interaction) -> list[Chances]:
        """What each member says, at its temperature."""
        return [
            member_chances(member, self.scores_of(member, interaction), interaction[self.ITEM_SEQ], temperature)
            for member, temperature in zip(self.members, self.temperatures)
        ]

    def full_sort_predict(self, interaction) -> Tensor:
        """Chances of the whole catalogue, ``[B, N + 1]``; column 0 is padding."""
        return mix_chances(self.chances(interaction), self.weights, interaction[self.ITEM_SEQ])

    def predict(self, interaction) -> Tensor:
        """Chances of the items in ``interaction``, ``[B]``."""
        return self.full_sort_predict(interaction).gather(1, interaction[self.ITEM_ID].unsqueeze(1)).squeeze(1)

    def calculate_loss(self, interaction) -> Tensor:
        raise NotImplementedError("a blend is made of trained models and is not trained itself")


def is_training_free(model: nn.Module) -> bool:
    """Whether a model's scores are counts and not logarithms."""
    return isinstance(model, TrainingFree)


def member_chances(member: nn.Module, scores: Tensor, item_seq: Tensor, temperature: float | Tensor) -> Chances:
    """What a member's scores say.

    Args:
        member: the model; a training-free one has no temperature.
        scores: ``[B, N + 1]``; column 0 is padding.
        item_seq: the clicks, ``[B, L]`` long.
        temperature: divides scores that are logarithms.
    """
    if is_training_free(member):
        return split_chances(scores.clamp(min=0.0), item_seq)
    scores = scores / temperature
    scores[:, 0] = -torch.inf
    return split_chances(scores.softmax(dim=1), item_seq)


def _member(settings: Mapping[str, Any], dataset) -> SequentialRecommender:
    model_class = registry.with_backbone(registry.resolve(settings["model"]), settings["backbone"])
    return model_class(settings, dataset).eval()
