"""Models with random weights, as they are kept after training, without the training."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from recbole_tme.config.load import load_config
from recbole_tme.config.result_settings import result_settings
from recbole_tme.data.prefixes import resolve_padding
from recbole_tme.models import registry
from recbole_tme.models.settings import Settings
from recbole_tme.recbole_patches.stock import config_to_plain
from recbole_tme.runs.itemlist import ItemList
from recbole_tme.serving.saved import Catalogue, SavedModel

SMALL = {"MAX_ITEM_LIST_LENGTH": 6, "embedding_size": 8}
SMALL_SASREC = {"MAX_ITEM_LIST_LENGTH": 6, "n_layers": 1, "n_heads": 1, "hidden_size": 8, "inner_size": 8}


def untrained(model: str, folder: Path, n_items: int = 60, seed: int = 0, **given) -> SavedModel:
    """A model of a catalogue of items "i0", "i1" and so on, its weights in ``folder``."""
    config = load_config(model, "toy", config_dict={"device": "cpu"} | given)
    settings = result_settings(config_to_plain(config)) | {"padding": resolve_padding(config)}
    torch.manual_seed(seed)
    built = Settings(settings, device=torch.device("cpu"))
    network = registry.resolve(config.registered_name)(built, Catalogue(n_items + 1, built))
    if hasattr(network, "session_count"):
        network.session_count.random_(0, 50)
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    items = ItemList([f"i{i}" for i in range(n_items)], np.arange(n_items))
    return SavedModel(config.registered_name, settings, items, weights, folder / "model.safetensors")
