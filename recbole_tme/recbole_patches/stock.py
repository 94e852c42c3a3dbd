"""What stock RecBole is given so that its own commands run our models: property files and safe checkpoints."""

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


def patch_trainer(module: ModuleType) -> None:
    """In ``recbole.trainer.trainer``: checkpoints of plain data that know their items, ``begin_epoch``, and an
    optimizer for item tables with sparse gradients.

    RecBole pickles its configuration and the model class into a checkpoint, which torch >= 2.6 refuses to load, so that
    each default run dies in its final evaluation; and it keeps no item ids, so that a checkpoint loads silently onto
    reordered items.
    """
    from recbole_tme.nn.row_optim import RowAdam, row_tables
    from recbole_tme.runs.checkpoint import (
        check_catalogue,
        load_checkpoint,
        restore_model,
        restore_optimizer,
        save_checkpoint,
    )

    trainer_class = module.Trainer
    fit, evaluate, train_epoch = trainer_class.fit, trainer_class.evaluate, trainer_class._train_epoch
    build_optimizer = trainer_class._build_optimizer

    @functools.wraps(build_optimizer)
    def build_any_optimizer(self, **kwargs):
        if not kwargs and self.learner.lower() == "adam" and row_tables(self.model):
            return RowAdam(self.model.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        return build_optimizer(self, **kwargs)

    @functools.wraps(train_epoch)
    def announced_train_epoch(self, train_data, epoch_idx, *args, **kwargs):
        if hasattr(self.model, "begin_epoch"):
            self.model.begin_epoch(epoch_idx)
        return train_epoch(self, train_data, epoch_idx, *args, **kwargs)

    def remember_catalogue(self, loader) -> None:
        self.catalogue = catalogue_of(loader._dataset)
        resumed = self.__dict__.pop("resumed_from", None)
        if resumed is not None:
            check_catalogue(resumed[1], self.catalogue, resumed[0])

    @functools.wraps(fit)
    def checked_fit(self, train_data, *args, **kwargs):
        remember_catalogue(self, train_data)
        return fit(self, train_data, *args, **kwargs)

    @functools.wraps(evaluate)
    def checked_evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        if eval_data:
            remember_catalogue(self, eval_data)
        if eval_data and load_best_model:
            path = model_file or self.saved_model_file
            checkpoint = load_checkpoint(
                path, items=self.catalogue, model=type(self.model).__name__, map_location=self.device
            )
            restore_model(self.model, checkpoint, path)
            self.logger.info("Loading model structure and parameters from %s", path)
        return evaluate(self, eval_data, load_best_model=False, show_progress=show_progress)

    def save(self, epoch, verbose=True, **kwargs):
        if not self.config["single_spec"] and self.config["local_rank"] != 0:
            return
        path = kwargs.pop("saved_model_file", self.saved_model_file)
        payload = {
            "model": type(self.model).__name__,
            "items": getattr(self, "catalogue", []),
            "config": config_to_plain(self.config),
            "epoch": epoch,
            "cur_step": self.cur_step,
            "best_valid_score": float(self.best_valid_score),
            "state_dict": self.model.state_dict(),
            "other_parameter": self.model.other_parameter(),
            "optimizer": self.optimizer.state_dict(),
        }
        save_checkpoint(path, payload)
        if verbose:
            self.logger.info("Saving current: %s", path)

    def resume(self, resume_file):
        self.saved_model_file = str(resume_file)
        checkpoint = load_checkpoint(resume_file, model=type(self.model).__name__, map_location=self.device)
        self.start_epoch = checkpoint["epoch"] + 1
        self.cur_step = checkpoint["cur_step"]
        self.best_valid_score = checkpoint["best_valid_score"]
        restore_model(self.model, checkpoint, resume_file)
        restore_optimizer(self.optimizer, checkpoint, resume_file)
        # The data set is not known before fit or evaluate.
        self.resumed_from = resume_file, checkpoint["items"]

    trainer_class._build_optimizer = build_any_optimizer
    trainer_class._train_epoch = announced_train_epoch
    trainer_class.fit = checked_fit
    trainer_class.evaluate = checked_evaluate
    trainer_class._save_checkpoint = save
    trainer_class.resume_checkpoint = resume


def patch_quick_start(module: ModuleType) -> None:
    """In ``recbole.quick_start.quick_start``: ``load_data_and_model`` for the checkpoints of :func:`patch_trainer`."""
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
    chosen anew for this machine, the command line is not read."""
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
