"""A trained model from its run directory; this needs RecBole, as its configuration does."""

from __future__ import annotations

from pathlib import Path

from recbole_tme.config.load import load_config
from recbole_tme.config.result_settings import result_settings
from recbole_tme.data.prefixes import resolve_padding
from recbole_tme.errors import UserError
from recbole_tme.recbole_patches.stock import config_to_plain
from recbole_tme.runs.checkpoint import read_weights
from recbole_tme.runs.find import finished_run
from recbole_tme.runs.itemlist import ItemList
from recbole_tme.serving.saved import SavedModel


def read_run(path: Path) -> SavedModel:
    """The model of a finished run; its data set is not needed.

    Raises:
        UserError: there is no finished run, its model is not to be had here, or a file of it is missing or damaged.
    """
    directory = finished_run(path)
    if not directory.catalogue_file.is_file():
        raise UserError(f"{directory.catalogue_file} is missing; train the model again")
    config = load_config(None, None, [directory.config_file], overrides={"device": "cpu"})
    settings = result_settings(config_to_plain(config)) | {"padding": resolve_padding(config)}
    return SavedModel(
        name=config.registered_name,
        settings=settings,
        items=ItemList.read(directory.catalogue_file),
        weights=read_weights(directory.model_file),
        weights_file=directory.model_file,
    )
