"""One trial of a study: train with some settings and validate after each epoch. The test set is never used."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_tme.config.load import SessionConfig, load_config
from recbole_tme.config.plugin_key import load_named
from recbole_tme.evaluation.protocol import load_data
from recbole_tme.experiment.run import prepare_phase
from recbole_tme.experiment.surroundings import deterministic, logging_to
from recbole_tme.experiment.trackers import tracking
from recbole_tme.experiment.trainer import SessionTrainer
from recbole_tme.runs.checkpoint import load_checkpoint, save_checkpoint
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.utils.files import remove_leftovers, writing
from recbole_tme.utils.hardware import keep_freed_memory

# A trial that raises is tried once more, from its beginning.
ATTEMPTS = 2


@dataclass(frozen=True)
class TrialPlan:
    """What all trials of a study have in common; it travels to the workers.

    Attributes:
        settings: complete settings, which a trial's own replace.
        folder: the study's, absolute; each trial has a folder in it.
        threads: of torch.
        plugins: files that the process which made the plan has loaded.
    """

    settings: dict[str, Any]
    folder: str
    threads: int
    plugins: tuple[str, ...] = ()

    def config(self, settings: dict[str, Any]) -> SessionConfig:
        """The configuration of a trial.

        Raises:
            UserError: the settings contradict one another.
        """
        load_named(self.plugins)
        own = {"retrain": False, "show_progress": False, "nproc": 1, "threads": self.threads}
        return load_config(config_dict=self.settings | settings | own)

    def trial_folder(self, number: int) -> Path:
        return Path(self.folder) / "trials" / f"{number:04d}"


@dataclass(frozen=True)
class Assignment:
    """What a worker is asked to do: train a trial, from its beginning or from where it was.

    Attributes:
        number: the trial's, counted from 0.
        settings: the values of the active keys of the space.
        rows: the epochs that were reported before.
        ended: whether the trial has ended; then its rows are only reported again, so that the scheduler of a resumed
            study knows them.
        donor: in population-based training, the trial whose weights this one takes over.
        after: the epoch (counted from 1) that those weights had; 0 without a donor.
        population: in population-based training, a folder with a file per trial, named as Ray names it, that holds
            its number.
    """

    number: int
    settings: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    ended: bool = False
    donor: int | None = None
    after: int = 0
    population: str | None = None


def train_trial(assignment: Assignment, plan: TrialPlan, report: Callable[[dict], None]) -> None:
    """Train one trial, or continue it, and report each epoch.

    A row is ``epoch`` (counted from 1), ``score`` (the best validation score so far), ``epoch_score``, ``seconds`` and
    ``last``, whether the training ended with it by itself. A trial that fails twice reports a row with ``trace``.

    Args:
        assignment: which trial.
        plan: the study's.
        report: takes a row; it does not return where the scheduler stops the trial.
    """
    for row in assignment.rows:
        report(row)
    if assignment.ended:
        return
    folder = plan.trial_folder(assignment.number)
    reported = list(assignment.rows)

    def report_new(row: dict[str, Any]) -> None:
        if row["epoch"] > (reported[-1]["epoch"] if reported else assignment.after):
            reported.append(row)
            report(row)

    for attempt in range(ATTEMPTS):
        try:
            if attempt:
                shutil.rmtree(folder, ignore_errors=True)
            config = plan.config(assignment.settings)
            if assignment.donor is not None and assignment.donor != assignment.number:
                adopt(plan.trial_folder(assignment.donor), folder, config)
            train(config, folder, report_new)
            return
        except Exception:
            trace = traceback.format_exc()
    last = reported[-1] if reported else {"epoch": assignment.after, "score": 0.0, "seconds": 0.0}
    report({**last, "epoch": last["epoch"] + 1, "epoch_score": 0.0, "last": True, "trace": trace})


def train(config: SessionConfig, folder: Path, report: Callable[[dict], None]) -> None:
    """Train in a folder, from its checkpoint where it has one; the test loader is not used."""
    data = load_data(config)
    keep_freed_memory()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    directory = RunDirectory(folder)
    directory.write_config(config.plain())
    logged, repeatable = logging_to(directory.log_file), deterministic(config["reproducibility"])
    with logged, repeatable, tracking(config, directory) as trackers:
        trainer, (train_loader, valid_loader, _) = prepare_phase(config, data, directory, "select", trackers)
        if directory.checkpoint_file("select").exists():
            trainer.resume(train_loader)
            # The process may have ended between a checkpoint and its report.
            for done in range(len(trainer.history)):
                report(epoch_row(trainer, done))
        trainer.fit(train_loader, valid_loader, callback_fn=lambda epoch, _score: report(epoch_row(trainer, epoch)))


def adopt(donor: Path, folder: Path, config: SessionConfig) -> None:
    """Copy another trial's checkpoint, to continue from it with this trial's learning rate and weight decay."""
    state = load_checkpoint(RunDirectory(donor).checkpoint_file("select"))
    factor = config["learning_rate"] / RunDirectory(donor).read_config()["learning_rate"]
    for group in state["optimizer"]["param_groups"]:
        group |= {name: group[name] * factor for name in ("lr", "initial_lr") if name in group}
        if "weight_decay" in group:
            group["weight_decay"] = config["weight_decay"]
    for name in ("base_lrs", "_last_lr"):
        state["scheduler"][name] = [rate * factor for rate in state["scheduler"][name]]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(RunDirectory(folder).checkpoint_file("select"), state)


def epoch_row(trainer: SessionTrainer, epoch: int) -> dict[str, Any]:
    """What is reported of an epoch, counted from 0, that is done."""
    history = trainer.history[: epoch + 1]
    scores = [float(row[f"valid_{trainer.valid_metric}"]) for row in history]
    return {
        "epoch": epoch + 1,
        "score": max(scores),
        "epoch_score": scores[-1],
        "seconds": round(sum(row["train_seconds"] + row["valid_seconds"] for row in history), 3),
        "last": bool(trainer.finished and len(history) == len(trainer.history)),
    }
