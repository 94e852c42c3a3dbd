"""Train one model on one data set and evaluate it once: data in, run directory out."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.utils.deterministic
from recbole.utils import init_seed
from torch import nn

from recbole_tme.config.load import SessionConfig
from recbole_tme.config.resolution import split_metrics
from recbole_tme.data.sessions import SessionData
from recbole_tme.errors import Interrupted, UserError
from recbole_tme.evaluation.beyond_accuracy import asked_for, measured
from recbole_tme.evaluation.metrics import check_metrics, metric_key, slices
from recbole_tme.evaluation.plausibility import implausible
from recbole_tme.evaluation.protocol import Protocol, load_data, trained_on
from recbole_tme.evaluation.ranks import Ranks, rank_all
from recbole_tme.evaluation.sampling import half_width, sampled
from recbole_tme.evaluation.summary import result_report
from recbole_tme.experiment.blend import Trained, blend, with_members
from recbole_tme.experiment.details import evaluate_test
from recbole_tme.experiment.loading import Loaders, build_model
from recbole_tme.experiment.parallel import in_processes
from recbole_tme.experiment.surroundings import blaming_plugin, deterministic, introduce, refusing_nan, working_in
from recbole_tme.experiment.trackers import Trackers, check_loggers, tracking
from recbole_tme.experiment.trainer import SessionTrainer
from recbole_tme.models.blend import Blend
from recbole_tme.nn import distributed
from recbole_tme.runs.checkpoint import write_weights
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.runs.itemlist import ItemList
from recbole_tme.utils.files import writing
from recbole_tme.utils.hardware import keep_freed_memory

# Among the metrics of an epoch: half the 95 % interval of the selecting one, where a sample was ranked.
HALF_WIDTH = "half_width"
logger = logging.getLogger()


def run(
    config: SessionConfig,
    resume: RunDirectory | None = None,
    on_epoch: Callable | None = None,
    report: Callable[[RunDirectory], Sequence[Path]] | None = None,
) -> RunDirectory:
    """Train, select on validation, evaluate once on test, and leave a run directory.

    Args:
        config: the resolved configuration.
        resume: a run directory to continue instead of starting a new one; a finished one is returned as it is.
        on_epoch: called as ``on_epoch(epoch, valid_score)`` after each epoch of the selection phase, with the epoch
            counted from 1 and the score in per cent.
        report: makes files about the finished run for the trackers that keep files.

    Raises:
        UserError: bad data, settings or checkpoint; a diverged training; an unwritable run directory.
    """
    check_selection(config)
    if resume is not None and resume.finished:
        return resume
    check_loggers(config)
    if config["nproc"] > 1 and distributed.size() == 1:
        if on_epoch is not None:
            raise UserError(f"nproc: {config['nproc']} processes cannot report their epochs; set nproc: 1")
        return in_processes(run, config, resume, None, report)
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    data = load_data(config)
    # Only now, so that what loading took for a moment goes back to the system.
    keep_freed_memory()
    accuracy, _ = split_metrics(config["metrics"])
    check_metrics(accuracy, config["topk"], config["valid_metric"], len(data.tokens) - 1)
    protocol = Protocol.of(config, data)
    if resume is not None:
        check_same_data(resume, protocol)
    started = time.perf_counter()
    # Before there is a directory, so that a model that cannot be built leaves none.
    built = None
    if issubclass(config.model_class, Blend):
        with_members(config, data, protocol)
    else:
        with deterministic(config["reproducibility"]):
            built = build_model(config, selection_data(config, data))
    if resume is None:
        directory = distributed.from_main(start(config, data, protocol) if distributed.is_main() else None)
    else:
        directory = resume
    with working_in(directory), deterministic(config["reproducibility"]):
        if resume is not None and distributed.is_main():
            directory.write_config(config.plain())
        introduce(config, protocol, directory, built[0] if built else None)
        try:
            with blaming_plugin(directory, config, resume is not None), tracking(config, directory) as trackers:
                metrics = train_and_test(
                    config, data, built, protocol, directory, resume is not None, on_epoch, trackers
                )
                metrics["seconds"] = round(time.perf_counter() - started, 1)
                finish(data, metrics, directory, trackers, report)
        except KeyboardInterrupt:
            raise Interrupted(how_to_go_on(directory)) from None
    return directory


def finish(
    data: SessionData,
    metrics: dict,
    directory: RunDirectory,
    trackers: Trackers,
    report: Callable[[RunDirectory], Sequence[Path]] | None,
) -> None:
    """Write ``metrics.json``, and tell the log and the trackers what came out."""
    if data.test is data.valid:
        metrics["test_is"] = "validation"
        logger.warning("the data set has no test sessions: what is called test here was measured on validation")
    logger.info(result_report(metrics))
    if distributed.is_main():
        directory.write_metrics(metrics)
        trackers.result(metrics)
        own = [directory.config_file, directory.history_file, directory.metrics_file, directory.details_file]
        trackers.keep([*own, *(report(directory) if report is not None else ())])


def how_to_go_on(directory: RunDirectory) -> str:
    """What to do with a run that was interrupted; one without a finished epoch is removed."""
    if directory.resumable:
        return f"continue with recbole-tme run --resume={directory.path}"
    if distributed.is_main():
        directory.remove()
    return "no epoch was finished, so there is nothing to resume yet; start again"


def check_selection(config: SessionConfig) -> None:
    """Refuse to retrain a model that has seen the validation sessions already, and to select on a part of the test set.

    Raises:
        UserError: ``retrain`` or ``eval_sample`` contradicts ``select_on``.
    """
    if config["retrain"] and config["select_on"] == "test":
        raise UserError(
            "retrain: True needs select_on: valid (with select_on: test the model already sees all of train)"
        )
    if config["eval_sample"] and config["select_on"] == "test":
        raise UserError("eval_sample: the test set is always ranked whole; leave it out, or set select_on: valid")


def selection_data(config: SessionConfig, data: SessionData) -> SessionData:
    """The data that the epoch is selected with."""
    return trained_on(config, data) if config["select_on"] == "test" else data


def start(config: SessionConfig, data: SessionData, protocol: Protocol) -> RunDirectory:
    """Make the run directory and write what is known before training."""
    created = RunDirectory.create(
        Path(config["run_dir"]), config["dataset"], config.registered_name, config["seed"], config.hash()
    )
    with created as directory:
        directory.write_config(config.plain())
        directory.write_items(data.tokens)
        write_catalogue(directory, config, data)
        directory.write_environment(
            {
                "command": config.command,
                "device": str(config["device"]),
                "threads": torch.get_num_threads(),
                "protocol": protocol.plain(),
            }
        )
    return directory


def write_catalogue(directory: RunDirectory, config: SessionConfig, data: SessionData) -> None:
    """Write what recommending needs to know of the items, so that it needs no data set."""
    clicks = np.bincount(trained_on(config, data).train.items, minlength=len(data.tokens))[1:]
    ItemList([str(token) for token in data.tokens[1:]], clicks, data.titles).write(directory.catalogue_file)


def check_same_data(directory: RunDirectory, protocol: Protocol) -> None:
    """Refuse to continue a run on data that has changed under it.

    Raises:
        UserError: the protocol fingerprint of the run differs.
    """
    changed = Protocol.of_run(directory).differences(protocol)
    if changed:
        raise UserError(
            f"{directory.path} cannot be resumed: {', '.join(changed)} differ from when it began; start a new run"
        )


def train_and_test(
    config: SessionConfig,
    data: SessionData,
    built: tuple[nn.Module, Loaders] | None,
    protocol: Protocol,
    directory: RunDirectory,
    resuming: bool,
    on_epoch: Callable | None,
    trackers: Trackers,
) -> dict:
    """Every phase of one run; returns the content of ``metrics.json`` but for the seconds that it all took."""
    final_data = trained_on(config, data)
    if issubclass(config.model_class, Blend):
        trained = blend(config, data, protocol, directory)
    else:
        trained = train(config, data, built, directory, resuming, on_epoch, trackers)
    beyond = asked_for(config, trained.loaders[0].dataset)
    cpu_started = time.process_time()
    with refusing_nan():
        ranks, details = evaluate_test(config, final_data, trained.model, trained.loaders[2], protocol, beyond)
    doubt = implausible(ranks, trained.loaders[2].dataset.inter_feat)
    if doubt is not None and distributed.is_main():
        logger.warning("warning: %s; recbole-tme leakcheck %s says how", doubt, directory.path)
    if distributed.is_main():
        write_outcome(directory, ranks, trained.model)
        directory.write_details(details)
    return {
        "model": config.registered_name,
        "dataset": config["dataset"],
        "seed": config["seed"],
        "epoch": trained.epoch,
        "valid": trained.valid and {name: value for name, value in trained.valid.items() if name != HALF_WIDTH},
        **sample_of(config, trained),
        "test": measured(config, ranks, beyond),
        "slices": slices(ranks, config["topk"], split_metrics(config["metrics"])[0]),
        "tie_share": ranks.tie_share,
        "parameters": sum(parameter.numel() for parameter in trained.model.parameters()),
        "epoch_seconds": trained.epoch_seconds,
        # Of this process; unlike seconds, it is the same on a machine that others use too.
        "cpu_seconds": round(trained.cpu_seconds + time.process_time() - cpu_started, 1),
        "protocol": protocol.plain(),
    }


def sample_of(config: SessionConfig, trained: Trained) -> dict:
    """What ``valid`` was measured on, where that is a sample of the validation instances."""
    if not trained.valid or HALF_WIDTH not in trained.valid:
        return {}
    about = {"instances": config["eval_sample"], "of": len(trained.loaders[1].dataset)}
    return {"valid_sample": about | {"half_width": trained.valid[HALF_WIDTH]}}


def train(
    config: SessionConfig,
    data: SessionData,
    built: tuple[nn.Module, Loaders],
    directory: RunDirectory,
    resuming: bool,
    on_epoch: Callable | None,
    trackers: Trackers,
) -> Trained:
    """Train and select on validation and, with ``retrain``, retrain on train + validation."""
    on_test = config["select_on"] == "test"
    selected, loaders = prepare_trainer(config, built, data.tokens, directory, "select", trackers)
    train_loader, valid_loader, test_loader = loaders
    if resuming and directory.checkpoint_file("select").exists():
        selected.resume(train_loader)
    selected.fit(
        train_loader,
        test_loader if on_test else valid_loader,
        show_progress=config["show_progress"],
        callback_fn=None if on_epoch is None else lambda epoch, score: on_epoch(epoch + 1, 100 * score),
    )
    trained = selected
    if config["retrain"]:
        trained, loaders = prepare_phase(config, trained_on(config, data), directory, "retrain", trackers)
        trained.epochs, trained.history = selected.best_epoch + 1, list(selected.history)
        if resuming and directory.checkpoint_file("retrain").exists():
            trained.resume(loaders[0])
        trained.fit(loaders[0], show_progress=config["show_progress"])
    valid = None if on_test else selected.best_valid_result
    epoch_seconds = statistics.median(row["train_seconds"] for row in trained.history)
    cpu_seconds = sum(row.get("cpu_seconds", 0.0) for row in trained.history)
    return Trained(trained.model, loaders, selected.best_epoch + 1, valid, epoch_seconds, cpu_seconds)


def write_outcome(directory: RunDirectory, ranks: Ranks, model: nn.Module) -> None:
    """Write the test ranks and the weights they come from."""
    with writing(directory.ranks_file):
        ranks.save(directory.ranks_file)
    write_weights(directory.model_file, model)


def prepare_phase(
    config: SessionConfig, data: SessionData, directory: RunDirectory, phase: str, trackers: Trackers | None = None
) -> tuple[SessionTrainer, Loaders]:
    """A freshly seeded model and its trainer and loaders; the same seed makes the same model."""
    return prepare_trainer(config, build_model(config, data), data.tokens, directory, phase, trackers)


def prepare_trainer(
    config: SessionConfig,
    built: tuple[nn.Module, Loaders],
    tokens: np.ndarray,
    directory: RunDirectory,
    phase: str,
    trackers: Trackers | None = None,
) -> tuple[SessionTrainer, Loaders]:
    """The trainer of a model that was built for a phase, and its loaders."""
    model, loaders = built
    if not distributed.is_main():
        # The same model everywhere, but noise of each process's own.
        init_seed((config["seed"] + distributed.rank()) % 2**32, config["reproducibility"])

    selecting = metric_key(config["valid_metric"])

    def evaluate_model(model, loader) -> dict[str, float]:
        part = sampled(loader, config["eval_sample"])
        beyond = asked_for(config, loaders[0].dataset)
        ranks = rank_targets(model, part, config, beyond)
        found = measured(config, ranks, beyond)
        if part is not loader:
            found[HALF_WIDTH] = half_width(ranks, selecting, len(loader.dataset))
        return found

    config["checkpoint_dir"] = str(directory.path)
    items = [str(token) for token in tokens]
    trainer = SessionTrainer(config, model, directory, items, evaluate_model, phase, trackers)
    trainer.valid_metric = selecting
    return trainer, loaders


def rank_targets(model, loader, config: SessionConfig, observe: Callable | None = None) -> Ranks:
    """``rank_all`` for a run.

    Raises:
        UserError: the model's scores hold NaN.
    """
    with refusing_nan():
        return rank_all(model, loader, config["device"], config["show_progress"], observe)
