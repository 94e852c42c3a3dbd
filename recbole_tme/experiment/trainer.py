"""Training on RecBole's Trainer: learning rate schedules, named losses, a run directory and true resume."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from recbole.trainer import Trainer
from recbole.utils import early_stopping
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from recbole_tme.errors import UserError, WrongResult
from recbole_tme.evaluation.summary import shown_name
from recbole_tme.experiment.epochs import PHASES, log_line, remaining, shown_row
from recbole_tme.experiment.trackers import Trackers
from recbole_tme.models.base import named
from recbole_tme.models.plain_softmax import fused_loss
from recbole_tme.models.plugins import is_foreign
from recbole_tme.nn import distributed
from recbole_tme.nn.row_optim import clippable
from recbole_tme.recbole_patches.patches import tensorboard_in
from recbole_tme.runs.checkpoint import fitting, load_checkpoint, restore_model, restore_optimizer, save_checkpoint
from recbole_tme.runs.epochs import counted_from_one
from recbole_tme.utils import terminal
from recbole_tme.utils.files import writing
from recbole_tme.utils.randomness import rng_state, set_rng_state
from recbole_tme.utils.shapes import mismatch

if TYPE_CHECKING:
    from recbole_tme.runs.directory import RunDirectory

# What a checkpoint holds of a training, besides the model and its optimiser.
STATE_SHAPE = {
    **dict.fromkeys(("epoch", "best_epoch", "cur_step"), int),
    **dict.fromkeys(("scheduler", "loader", "rng"), dict),
    "rng_of_other_processes?": [dict],
    "best_state": dict,
    "best_valid_score": float,
    "best_valid_result": (type(None), {str: float}),
    "finished": bool,
    "history": [{"phase": str, "train_seconds": float, "cpu_seconds?": float}],
}
# A NaN is looked for this often: on a GPU each look waits for the device.
CHECK_EVERY = 50


class SessionTrainer(Trainer):
    """Trains any RecBole sequential model on session loaders.

    In a multi-process run (:mod:`recbole_tme.nn.distributed`) every process has a trainer, and the main one's writes.

    Args:
        config: the resolved configuration.
        model: the model, on its device.
        run: where everything is written.
        items: external item ids by internal id, ``[N + 1]``; kept in the checkpoint.
        evaluate: ``evaluate(model, loader) -> dict`` of metrics by name, such as ``{"mrr@20": 0.15}``.
        phase: name of this training in the history ("select", or "retrain" on train + validation).
        trackers: are told each epoch.
    """

    def __init__(
        self,
        config,
        model,
        run: RunDirectory,
        items: list[str],
        evaluate: Callable,
        phase: str = "select",
        trackers: Trackers | None = None,
    ):
        with tensorboard_in(None):
            super().__init__(config, model)
        self.trackers = trackers or Trackers()
        self.run = run
        self.items = items
        self.phase = phase
        self.evaluate_model = evaluate
        self.scheduler = build_scheduler(self.optimizer, config)
        self.history: list[dict] = []
        self.best_epoch = -1
        self.best_state: dict[str, Tensor] = {}
        self.finished = False

    def _build_optimizer(self, **kwargs):
        """RecBole's, with Adam's step as one kernel: ten times faster for an item table on a CPU."""
        optimizer = super()._build_optimizer(**kwargs)
        if isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
            for group in optimizer.param_groups:
                group["fused"] = True
        return optimizer

    def fit(
        self,
        train_data,
        valid_data=None,
        verbose=True,
        saved=True,
        show_progress=False,
        callback_fn=None,
    ):
        """Train until ``epochs`` are done or validation has not improved for ``stopping_step`` epochs.

        Args:
            train_data: loader of training batches with ``state_dict``/``load_state_dict``.
            valid_data: loader to select the epoch on; None keeps the last epoch.
            verbose: log a line per epoch.
            saved: write a checkpoint after each epoch.
            show_progress: show a progress bar with the time left.
            callback_fn: called as ``callback_fn(epoch, valid_score)`` after each epoch's checkpoint.

        Returns:
            ``(best validation score, metrics of that epoch)``, as RecBole's; ``(-inf, None)`` without validation.

        Raises:
            UserError: the loss became NaN, or the run directory cannot be written.
        """
        for epoch in range(self.start_epoch, self.epochs):
            if self.finished:
                break
            row = {"phase": self.phase, "epoch": epoch + 1, "lr": self.optimizer.param_groups[0]["lr"]}
            started, cpu_started = time.perf_counter(), time.process_time()
            row |= self._train_epoch(train_data, epoch, show_progress=show_progress)
            row["train_seconds"] = round(time.perf_counter() - started, 3)
            if distributed.size() > 1:
                row["sent_bytes_per_step"] = round(distributed.take_sent() / len(train_data))
            self.scheduler.step()
            score = self._validate(epoch, valid_data, row) if valid_data is not None else None
            if valid_data is None:
                self._keep_weights(epoch)
            row["cpu_seconds"] = round(time.process_time() - cpu_started, 3)
            stopped_early = self.finished and epoch + 1 < self.epochs
            self.finished = self.finished or epoch + 1 == self.epochs
            self.history.append(row)
            if distributed.is_main():
                self.trackers.epoch(row)
                if verbose:
                    self._report(row, score is not None and self.best_epoch == epoch)
                    if stopped_early:
                        self._report_stop()
            if saved:
                self.save(epoch, train_data)
            if callback_fn is not None:
                callback_fn(epoch, score)
        self.model.load_state_dict(self.best_state)
        return self.best_valid_score, self.best_valid_result

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False) -> dict[str, float]:
        """One pass over the training instances; returns the mean of each named loss over the batches."""
        self.model.train()
        if hasattr(self.model, "begin_epoch"):
            self.model.begin_epoch(epoch_idx)
        loss_func = checked(self.model, loss_func or named_losses(self.model, self.config))
        parameters = list(self.model.parameters())
        totals: dict[str, Tensor] = {}
        said = f"{PHASES.get(self.phase, self.phase)} {epoch_idx + 1}/{self.epochs}"
        with terminal.bar(said, len(train_data), "batches", show_progress and distributed.is_main()) as shown:
            for step, interaction in enumerate(train_data, start=1):
                self.optimizer.zero_grad(set_to_none=True)
                losses = self._backward(loss_func, interaction) if len(interaction) else {}
                share = distributed.average_gradients(self.model, len(interaction))
                if self.clip_grad_norm:
                    clip_grad_norm_(clippable(parameters), **self.clip_grad_norm)
                self.optimizer.step()
                for name, value in losses.items():
                    totals[name] = totals.get(name, 0.0) + share * value.detach()
                if step % CHECK_EVERY == 0 or step == len(train_data):
                    check_finite(totals, epoch_idx + 1, step)
                shown.advance()
        distributed.broadcast_buffers(self.model)
        totals = distributed.total_by_name(totals)
        return {f"loss_{name}": total / len(train_data) for name, total in totals.items()}

    def _backward(self, loss_func, interaction) -> dict[str, Tensor]:
        with torch.autocast(device_type=self.device.type, enabled=self.enable_amp):
            losses = loss_func(interaction.to(self.device))
            loss = sum(losses.values())
        loss.backward()
        return losses

    def _validate(self, epoch: int, valid_data, row: dict) -> float:
        started = time.perf_counter()
        metrics = self.evaluate_model(self.model, valid_data)
        row["valid_seconds"] = round(time.perf_counter() - started, 3)
        row |= {f"valid_{name}": value for name, value in metrics.items()}
        score = metrics[self.valid_metric]
        self.best_valid_score, self.cur_step, stop, improved = early_stopping(
            score, self.best_valid_score, self.cur_step, max_step=self.stopping_step, bigger=True
        )
        if improved:
            self.best_valid_result = metrics
            self._keep_weights(epoch)
        self.finished = stop
        return score

    def _keep_weights(self, epoch: int) -> None:
        self.best_epoch = epoch
        self.best_state = {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def _report(self, row: dict, best: bool) -> None:
        """A row for whoever watches, and all figures for the log."""
        self.logger.info(log_line(row, self.epochs, best))
        left = None
        if not self.finished:
            retrained = self.best_epoch + 1 if self.phase == "select" and self.config["retrain"] else 0
            own = [one for one in self.history if one["phase"] == self.phase]
            left = remaining(own, self.epochs, retrained)
        terminal.say(*shown_row(row, self.epochs, self.valid_metric, best, left))

    def _report_stop(self) -> None:
        metric = shown_name(self.valid_metric)
        text = f"stopped: {metric} has not improved on epoch {self.best_epoch + 1} for {self.cur_step} epochs"
        self.logger.info(text)
        terminal.say_folded(text)

    def save(self, epoch: int, train_data) -> None:
        """Write the history and the checkpoint ``--resume`` continues from, in one replace each.

        Raises:
            UserError: the run directory cannot be written.
        """
        rng, *rng_of_others = distributed.gather(rng_state())
        if not distributed.is_main():
            return
        self.run.write_history(self.history)
        payload = {
            "model": self.config.registered_name,
            "items": self.items,
            "epoch": epoch,
            "state_dict": self.model.state_dict(),
            "best_state": self.best_state,
            "best_epoch": self.best_epoch,
            "best_valid_score": float(self.best_valid_score),
            "best_valid_result": self.best_valid_result,
            "cur_step": self.cur_step,
            "finished": self.finished,
            "other_parameter": self.model.other_parameter(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "loader": train_data.state_dict(),
            "rng": rng,
            "rng_of_other_processes": rng_of_others,
            "history": self.history,
        }
        path = self.run.checkpoint_file(self.phase)
        with writing(path):
            save_checkpoint(path, payload)

    def resume(self, train_data) -> None:
        """Continue from the run's checkpoint, bit for bit as if it had never stopped.

        Raises:
            UserError: the checkpoint is damaged, or of another model or catalogue.
        """
        path = self.run.checkpoint_file(self.phase)
        state = load_checkpoint(path, items=self.items, model=self.config.registered_name, map_location=self.device)
        with fitting(path):
            restore_model(self.model, state, path)
            restore_optimizer(self.optimizer, state, path)
            self._take_over(state, train_data)

    def _take_over(self, state: dict, train_data) -> None:
        wrong = mismatch(state, STATE_SHAPE)
        if wrong is not None or not state["history"]:
            raise ValueError(wrong or "history has no epoch")
        best, last = ({k: v.shape for k, v in state[part].items()} for part in ("best_state", "state_dict"))
        if best != last and state["best_epoch"] >= 0:
            raise ValueError("best_state holds other weights than state_dict")
        self.scheduler.load_state_dict(state["scheduler"])
        train_data.load_state_dict(state["loader"])
        self.start_epoch = state["epoch"] + 1
        self.best_state, self.best_epoch = state["best_state"], state["best_epoch"]
        self.best_valid_score, self.best_valid_result = state["best_valid_score"], state["best_valid_result"]
        self.cur_step, self.finished = state["cur_step"], state["finished"]
        self.history = counted_from_one(state["history"])
        set_rng_state([state["rng"], *state.get("rng_of_other_processes", [])][distributed.rank()])


def named_losses(model, settings) -> Callable:
    """The model's losses by name; those of a RecBole model are named by :func:`~recbole_tme.models.base.named`."""
    if hasattr(model, "losses"):
        return model.losses
    fused = fused_loss(settings)
    if fused is not None:
        return lambda interaction: named(fused(model, interaction))
    return lambda interaction: named(model.calculate_loss(interaction))


def checked(model, loss_func: Callable) -> Callable:
    """A third party's losses, each checked to be one number, and their sum to depend on the weights.

    Raises:
        WrongResult: by the function that is returned, where they are not.
    """

    def losses(interaction) -> dict[str, Tensor]:
        found = loss_func(interaction)
        if not isinstance(found, dict) or not found:
            raise WrongResult(f"losses returned {type(found).__name__}, expected a dict of losses by name")
        for name, loss in found.items():
            shape = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            if not isinstance(loss, Tensor) or loss.numel() != 1:
                raise WrongResult(f"the {name} loss is of {shape}, expected a tensor of one number")
        if not any(loss.requires_grad for loss in found.values()):
            raise WrongResult("the loss depends on no parameter of the model")
        return found

    return losses if is_foreign(type(model)) else loss_func


def check_finite(totals: dict[str, Tensor], epoch: int, step: int) -> None:
    """Stop a training that has diverged.

    Raises:
        UserError: a summed loss is NaN or infinite; names it.
    """
    for name, total in totals.items():
        if not torch.isfinite(total):
            raise UserError(
                f"the {name} loss became {float(total)} in epoch {epoch}, by step {step}; "
                f"lower learning_rate or set clip_grad_norm"
            )


def build_scheduler(optimizer, config):
    """The learning rate schedule named by ``lr_schedule``: none, step (every ``lr_step`` epochs by ``lr_gamma``) or
    cosine (to 0 over ``epochs``)."""
    name = config["lr_schedule"]
    if name == "step":
        return torch.optim.lr_scheduler.StepLR(optimizer, config["lr_step"], config["lr_gamma"])
    if name == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config["epochs"])
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0)
