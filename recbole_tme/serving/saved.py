"""A trained model as it is kept, in a run directory or in a bundle, and the model made from it without its data set."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recbole_tme.errors import UserError
from recbole_tme.models import registry
from recbole_tme.models.builtin.accelerated import accelerated
from recbole_tme.models.plugins import blaming
from recbole_tme.models.settings import Settings
from recbole_tme.runs.checkpoint import restore_model
from recbole_tme.runs.itemlist import ItemList
from recbole_tme.utils.randomness import replaying, rng_state


@dataclass(frozen=True)
class SavedModel:
    """All there is to a trained model.

    Attributes:
        name: the model's registered name.
        settings: its settings as plain data; ``padding`` is "batch" or "max".
        items: its catalogue.
        weights: its state by name.
        weights_file: where the weights come from, for messages.
        new_items: how many items of ``items`` and of ``weights`` are not in that file; they are the last ones.
    """

    name: str
    settings: Mapping[str, Any]
    items: ItemList
    weights: Mapping[str, Tensor]
    weights_file: Path
    new_items: int = 0


class Catalogue:
    """The place of a data set for a model whose weights are loaded: it knows how many items there are.

    Args:
        n_items: items, padding included.
        item_field: their field name.
        settings: the model's.
    """

    # The only session id is the padding: a session to recommend for was not one of the training sessions.
    user_num = 1

    def __init__(self, n_items: int, settings: Mapping[str, Any]):
        self.item_num = n_items
        self.item_field = settings["ITEM_ID_FIELD"]
        self.field2seqlen = {self.item_field + settings["LIST_SUFFIX"]: settings["MAX_ITEM_LIST_LENGTH"]}

    def num(self, field: str) -> int:
        """Number of values of a field, padding included."""
        return self.item_num if field == self.item_field else self.user_num


def build_model(saved: SavedModel, device: torch.device) -> nn.Module:
    """The model of a saved one, in evaluation mode on a device; the global random generators stay as they are.

    Raises:
        UserError: the model is unknown here, needs its data set, or the weights do not fit.
    """
    model = unloaded(saved, device, len(saved.items.ids))
    restore_model(model, {"state_dict": saved.weights}, saved.weights_file)
    return accelerated(model).to(device).eval()


def unloaded(saved: SavedModel, device: torch.device, n_items: int) -> nn.Module:
    """The model of a saved one's class and settings over so many items, without its weights.

    Raises:
        UserError: the model is unknown here, or needs its data set.
    """
    model_class = registry.resolve(saved.name)
    settings = Settings(saved.settings, device=device)
    catalogue = Catalogue(n_items + 1, settings)
    with replaying(rng_state()):
        _seed(settings["seed"])
        with blaming(model_class):
            try:
                model: nn.Module = model_class(settings, catalogue)
            except AttributeError as error:
                if error.obj is not catalogue:
                    raise
                raise UserError(
                    f"model {saved.name} cannot recommend without the data set it was trained on: it reads the data "
                    f"set's {error.name}; choose another model"
                ) from error
    return model


def checked_device(name: str) -> torch.device:
    """A device by name.

    Raises:
        UserError: there is no such device here.
    """
    if name == "cpu" or (name == "cuda" and torch.cuda.is_available()):
        return torch.device(name)
    there = "cpu or cuda" if torch.cuda.is_available() else "cpu (there is no usable GPU here)"
    raise UserError(f"device: must be {there}, not {name!r}")


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
