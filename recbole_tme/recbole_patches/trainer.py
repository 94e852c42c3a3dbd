"""What RecBole's trainer is given: checkpoints of plain data that know their items, the model's ``begin_epoch``, and an
optimizer for item tables with sparse gradients.

RecBole pickles its configuration and the model class into a checkpoint, which torch >= 2.6 refuses to load, so that
each default run dies in its final evaluation; and it keeps no item ids, so that a checkpoint loads silently onto
reordered items.

The functions below are methods of ``Trainer``; those that extend one of RecBole's take it as their first argument.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from recbole_tme.nn.row_optim import RowAdam, row_tables
from recbole_tme.recbole_patches.stock import catalogue_of, config_to_plain
from recbole_tme.runs.checkpoint import (
    check_catalogue,
    load_checkpoint,
    restore_model,
    restore_optimizer,
    save_checkpoint,
)


def patch_trainer(module: ModuleType) -> None:
    """Change ``Trainer`` of ``recbole.trainer.trainer``."""
    trainer = module.Trainer
    for name, ours in (
        ("_build_optimizer", build_optimizer),
        ("_train_epoch", train_epoch),
        ("fit", fit),
        ("evaluate", evaluate),
    ):
        setattr(trainer, name, _extending(getattr(trainer, name), ours))
    trainer._save_checkpoint = save
    trainer.resume_checkpoint = resume


def _extending(original: Callable, ours: Callable) -> Callable:
    """A method that calls ``ours`` with RecBole's own method before the arguments."""

    @functools.wraps(original)
    def method(self, *args, **kwargs):
        return ours(original, self, *args, **kwargs)

    return method


def build_optimizer(original: Callable, self, **kwargs):
    """RecBole's optimizer; for a model with row-wise item tables and ``learner: adam``, :class:`RowAdam`."""
    if not kwargs and self.learner.lower() == "adam" and row_tables(self.model):
        return RowAdam(self.model.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
    return original(self, **kwargs)


def train_epoch(original: Callable, self, train_data, epoch_idx: int, *args, **kwargs):
    """Tell the model which epoch begins (counted from 0), then train it."""
    if hasattr(self.model, "begin_epoch"):
        self.model.begin_epoch(epoch_idx)
    return original(self, train_data, epoch_idx, *args, **kwargs)


def fit(original: Callable, self, train_data, *args, **kwargs):
    """Train, with the items of the training data in every checkpoint.

    Raises:
        UserError: the run is resumed on a data set with other items.
    """
    remember_catalogue(self, train_data)
    return original(self, train_data, *args, **kwargs)


def evaluate(
    original: Callable,
    self,
    eval_data,
    load_best_model: bool = True,
    model_file: str | None = None,
    show_progress: bool = False,
):
    """Evaluate, with weights from a checkpoint of :func:`save`.

    Raises:
        UserError: the checkpoint cannot be read, or its model or its items are others.
    """
    if eval_data:
        remember_catalogue(self, eval_data)
    if eval_data and load_best_model:
        path = model_file or self.saved_model_file
        checkpoint = load_checkpoint(
            path, items=self.catalogue, model=type(self.model).__name__, map_location=self.device
        )
        restore_model(self.model, checkpoint, path)
        self.logger.info("Loading model structure and parameters from %s", path)
    return original(self, eval_data, load_best_model=False, show_progress=show_progress)


def save(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
    """Write a checkpoint of plain data; in a multi-process run the main process does."""
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


def resume(self, resume_file: str) -> None:
    """Continue from a checkpoint of :func:`save`; its items are checked once the data set is known.

    Raises:
        UserError: the checkpoint cannot be read, or is of another model.
    """
    self.saved_model_file = str(resume_file)
    checkpoint = load_checkpoint(resume_file, model=type(self.model).__name__, map_location=self.device)
    self.start_epoch = checkpoint["epoch"] + 1
    self.cur_step = checkpoint["cur_step"]
    self.best_valid_score = checkpoint["best_valid_score"]
    restore_model(self.model, checkpoint, resume_file)
    restore_optimizer(self.optimizer, checkpoint, resume_file)
    self.resumed_from = resume_file, checkpoint["items"]


def remember_catalogue(self, loader) -> None:
    """Keep the items of a loader's data set, and check those of the checkpoint that is being resumed against them.

    Raises:
        UserError: they differ.
    """
    self.catalogue = catalogue_of(loader._dataset)
    resumed = self.__dict__.pop("resumed_from", None)
    if resumed is not None:
        check_catalogue(resumed[1], self.catalogue, resumed[0])
