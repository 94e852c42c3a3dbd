"""What stock RecBole is given so that its own commands run our models: property files and safe checkpoints.

The changes to its trainer are in :mod:`~recbole_tme.recbole_patches.trainer`.
"""

from __future__ import annotations

import copy
import functools
import logging
import os
from types import ModuleType

from recbole_tme.errors import UserError
from recbole_tme.models import registry
from recbole_tme.models.builtin import discovery
from recbole_tme.recbole_patches.patches import install_numpy_aliases, replace_everywhere
from recbole_tme.schema.property_files import properties_root


def patch_configurator(module: ModuleType) -> None:
    """In ``recbole.config.configurator``: our property files, at RecBole's own precedence.

    RecBole reads the property files beside its own modules only. Ours for the model come right after
    ``overall.yaml``, ours for the data set right after ``sample.yaml``, where RecBole's come too.
    """
    config_class = module.Config
    original = config_class._update_internal_config_dict

    @functools.wraps(original)
    def update(self, file):
        loaded = original(self, file)
        if os.path.basename(file) == "overall.yaml" and not discovery.is_builtin(self.model_class):
            for cls in registry.lineage(self.model_class):
                self.internal_config_dict.update(copy.deepcopy(vars(cls).get("defaults", {})))
                path = registry.property_file(cls)
                if path is not None:
                    original(self, str(path))
        elif os.path.basename(file) == "sample.yaml":
            path = properties_root() / "dataset" / f"{self.dataset}.yaml"
            if path.is_file() and not os.path.isfile(os.path.join(os.path.dirname(file), path.name)):
                original(self, str(path))
        return loaded

    get_model_and_dataset = config_class._get_model_and_dataset

    @functools.wraps(get_model_and_dataset)
    def with_its_backbone(self, model, dataset):
        name, model_class, dataset = get_model_and_dataset(self, model, dataset)
        if registry.takes_backbone(model_class):
            model_class = registry.with_backbone(model_class, self.external_config_dict.get("backbone"))
        return name, model_class, dataset

    config_class._get_model_and_dataset = with_its_backbone
    config_class._update_internal_config_dict = update
    config_class.compatibility_settings = install_numpy_aliases


def patch_quick_start(module: ModuleType) -> None:
    """In ``recbole.quick_start.quick_start``: ``load_data_and_model`` for checkpoints of plain data."""
    from recbole_tme.runs.checkpoint import check_catalogue, load_checkpoint, restore_model

    original = module.load_data_and_model

    @functools.wraps(original)
    def load_data_and_model(model_file):
        checkpoint = load_checkpoint(model_file)
        if "config" not in checkpoint:
            raise UserError(f"{model_file} was not written by RecBole's trainer; continue it with --resume=RUN")
        config = config_from_plain(checkpoint["config"])
        module.init_seed(config["seed"], config["reproducibility"])
        module.init_logger(config)
        dataset = module.create_dataset(config)
        train_data, valid_data, test_data = module.data_preparation(config, dataset)
        check_catalogue(checkpoint["items"], catalogue_of(train_data._dataset), model_file)
        module.init_seed(config["seed"], config["reproducibility"])
        model = config.model_class(config, train_data._dataset).to(config["device"])
        restore_model(model, checkpoint, model_file)
        return config, model, dataset, train_data, valid_data, test_data

    replace_everywhere(original, load_data_and_model)


def catalogue_of(dataset) -> list[str]:
    """External item ids of a RecBole data set by internal id, the padding token first; empty without an item field."""
    tokens = dataset.field2id_token.get(dataset.iid_field)
    return [] if tokens is None else [str(token) for token in tokens]


def config_to_plain(config) -> dict:
    """A RecBole ``Config`` as plain data: enums by name, the data path absolute, without the device.

    Settings that are no plain data (an object put there by the caller) are left out with a warning.
    """
    from recbole_tme.runs.checkpoint import plain_data

    plain = {}
    for key, value in config.final_config_dict.items():
        if key == "device":
            continue
        try:
            plain[key] = plain_data(value, key)
        except TypeError as error:
            logging.getLogger().warning("left out of the checkpoint's configuration: %s", error)
    plain["data_path"] = os.path.abspath(plain["data_path"])
    return plain


def config_from_plain(plain: dict):
    """The ``Config`` that :func:`config_to_plain` was given: the model class is looked up by name, the device is
    chosen again for this machine, the command line is not read."""
    import torch
    from recbole.config import Config
    from recbole.utils import enum_type, get_model

    config = Config.__new__(Config)
    config._init_parameters_category()
    config.yaml_loader = None
    config.final_config_dict = settings = dict(plain)
    for key, enum in (("MODEL_TYPE", "ModelType"), ("MODEL_INPUT_TYPE", "InputType"), ("eval_type", "EvaluatorType")):
        settings[key] = getattr(enum_type, enum)[settings[key]]
    config.model, config.dataset = settings["model"], settings["dataset"]
    config.model_class = get_model(config.model)
    gpu = torch.cuda.is_available() and settings["gpu_id"] not in ("", None)
    settings["device"] = torch.device("cuda" if gpu else "cpu")
    return config
