"""RecBole's models whose loss is a plain softmax over the catalogue, and the same loss in a fused form."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from recbole_tme import recbole_models
from recbole_tme.losses import catalogue_cross_entropy
from recbole_tme.models.base import loss_precision

# Their loss is nothing but cross entropy of `forward` times the item table, padding included.
PLAIN_SOFTMAX = ("GRU4Rec", "LightSANs", "NARM", "SASRec", "SRGNN", "STAMP")


def has_plain_softmax(model_class: type, settings: Mapping[str, Any]) -> bool:
    """Whether a class is one of those models of RecBole's, trained with that loss."""
    known = recbole_models.is_builtin(model_class) and model_class.__name__ in PLAIN_SOFTMAX
    return known and settings["loss_type"] == "CE"


def session_vectors(model: nn.Module, interaction) -> Tensor:
    """What such a model multiplies with its item table, ``[B, d]``."""
    return model.forward(interaction[model.ITEM_SEQ], interaction[model.ITEM_SEQ_LEN])


def fused_loss(model_class: type, settings: Mapping[str, Any]) -> Callable[[nn.Module, Any], Tensor] | None:
    """What computes the loss of such a model where ``builtin_loss`` asks for the fused form.

    Args:
        model_class: the class whose loss it is.
        settings: the run's.

    Returns:
        A function of the model and a training batch that gives the model's own loss, a scalar: in value and gradients,
        those of row 0 of the item table among them, up to the rounding of the precision. None where the model's own
        code is wanted or the class has another loss.
    """
    # Neither RecBole's own commands nor a bundle that is older than the key know it.
    if settings["builtin_loss"] in (None, "own") or not has_plain_softmax(model_class, settings):
        return None
    return functools.partial(_fused, precision=loss_precision(settings["builtin_loss"], settings["device"]))


def _fused(model: nn.Module, interaction, precision: torch.dtype | None) -> Tensor:
    session, target = session_vectors(model, interaction), interaction[model.POS_ITEM_ID]
    table = model.item_embedding.weight
    return catalogue_cross_entropy(session, table, target, precision=precision, with_padding=True)[0]
