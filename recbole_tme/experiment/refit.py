"""A model for production: a finished run's model, trained once more on everything that the data set holds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_tme.config.load import SessionConfig, load_config
from recbole_tme.data.locate import locate
from recbole_tme.data.readers.atomic import read_everything
from recbole_tme.data.sessions import SessionData
from recbole_tme.errors import UserError
from recbole_tme.evaluation.protocol import Protocol, load_data
from recbole_tme.experiment.blend import Blend
from recbole_tme.experiment.run import check_same_data, prepare_phase
from recbole_tme.experiment.surroundings import deterministic, tell, working_in
from recbole_tme.experiment.trackers import TENSORBOARD, opened
from recbole_tme.runs.checkpoint import write_weights
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.runs.epochs import selected_epoch
from recbole_tme.runs.find import finished_run
from recbole_tme.runs.itemlist import ItemList
from recbole_tme.utils.files import write_json

# Where the training happens may differ from the run's; what it computes may not.
CHANGEABLE = ("data_path", "run_dir", "device", "gpu_id", "use_gpu", "threads", "show_progress", "data_cache")


def refit(path: Path | str, overrides: Mapping[str, Any] | None = None) -> RunDirectory:
    """Retrain a finished run's model on train + validation + test, for as many epochs as the run chose.

    Items that only the test's time knows, whose clicks the data set's test leaves out, are trained on, too. Nothing is
    left to measure the new model on: its metrics are those of the run that chose the epochs, and its files say so.

    Args:
        path: a finished run's directory.
        overrides: settings of this machine (:data:`CHANGEABLE`).

    Returns:
        A new run directory beside the run's, for ``recommend``, ``serve``, ``export`` and ``bundle``.

    Raises:
        UserError: there is no finished run, it was made so itself, or its data set has changed.
    """
    selection = finished_run(path)
    selection.refuse_refitted()
    fixed = sorted(set(overrides or {}) - set(CHANGEABLE))
    if fixed:
        raise UserError(
            f"--{fixed[0]} cannot change: the epochs were chosen without it (only {', '.join(CHANGEABLE)} can)"
        )
    config = load_config(None, None, [selection.config_file], overrides=overrides).replaced(nproc=1)
    if issubclass(config.model_class, Blend):
        raise UserError(f"{path} is a blend; train its runs on everything and blend those")
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    check_same_data(selection, Protocol.of(config, load_data(config)))
    data = everything(config)
    created = RunDirectory.create(
        Path(config["run_dir"]), config["dataset"], config.registered_name, config["seed"], f"all-{config.hash()}"
    )
    # It gets its name once it is finished: an interrupted refit leaves nothing.
    with created as directory, working_in(directory), deterministic(config["reproducibility"]):
        _train(config, data, selection, directory)
    return directory


def everything(config: SessionConfig) -> SessionData:
    """A data set with all of its sessions as ``train``, in their order.

    Raises:
        UserError: it is not there, or a file of it is not well formed.
    """
    data = read_everything(locate(config["dataset"], config["data_path"]), config["dataset"])
    # RecBole's data sets have a test part. This one is a training session, and nothing is measured on it.
    any_session = int(data.train.instances()[0][-1])
    return replace(data, test=data.train.slice(any_session, any_session + 1))


def _train(config: SessionConfig, data: SessionData, selection: RunDirectory, directory: RunDirectory) -> None:
    started = time.perf_counter()
    metrics = selection.read_metrics()
    epochs = selected_epoch(metrics)
    tell(f"training on train + validation + test, {epochs} epochs as {selection.path} chose")
    directory.write_config(config.plain())
    directory.write_items(data.tokens)
    clicks = np.bincount(data.train.items, minlength=len(data.tokens))[1:]
    ItemList([str(token) for token in data.tokens[1:]], clicks, data.titles).write(directory.catalogue_file)
    directory.write_environment({"device": str(config["device"]), "threads": torch.get_num_threads()})
    # Curves of the losses; there is nothing else to log of it.
    names = [TENSORBOARD] if TENSORBOARD in (config["logger"] or ()) else []
    trackers = opened(names, config, directory.path, directory.tensorboard_dir)
    trainer, loaders = prepare_phase(config, data, directory, "all", trackers)
    trainer.epochs = epochs
    trainer.fit(loaders[0], show_progress=config["show_progress"])
    trackers.close()
    write_weights(directory.model_file, trainer.model)
    about = {
        "trained_on": "train + validation + test",
        "metrics_of": str(selection.path),
        "sessions": len(data.train),
        "clicks": len(data.train.items),
        "items": len(data.tokens) - 1,
        "epochs": epochs,
        "seconds": round(time.perf_counter() - started, 1),
    }
    write_json(directory.refit_file, about)
    # Its settings are in its own config.yaml.
    metrics.pop("settings", None)
    directory.write_metrics(metrics | {"refit": about})
    tell(
        f"{about['sessions']:,} sessions, {about['items']:,} items; the metrics are those of {selection.path}, as "
        "nothing is left to measure this model on"
    )
