"""A model with its data: freshly made from a configuration, or as a finished run left it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from recbole.utils import init_seed
from torch import nn

from recbole_tme.config.construct import construct
from recbole_tme.config.load import SessionConfig, load_config
from recbole_tme.config.result_settings import settings_hash
from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.loader import SessionEvalLoader, SessionTrainLoader, build_loaders
from recbole_tme.data.sessions import SessionData
from recbole_tme.errors import UserError
from recbole_tme.evaluation.protocol import Protocol, load_data, trained_on
from recbole_tme.models.builtin.accelerated import accelerated
from recbole_tme.runs.checkpoint import check_catalogue, read_weights, restore_model
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.runs.find import finished_run

Loaders = tuple[SessionTrainLoader, SessionEvalLoader | None, SessionEvalLoader]


class LoadedRun(NamedTuple):
    """A finished run, ready to predict.

    Attributes:
        config: its resolved configuration.
        data: its data set; ``data.train`` is what the model was trained on, validation included where the run
            retrained on it.
        model: the model with the selected epoch's weights, in evaluation mode, on ``config["device"]``.
        loaders: of the training, validation and test instances.
    """

    config: SessionConfig
    data: SessionData
    model: nn.Module
    loaders: Loaders


def load_run(path: Path | str, overrides: Mapping[str, Any] | None = None) -> LoadedRun:
    """Rebuild the model, the data and the loaders of a finished run from its directory.

    The model scores as it did when the run was evaluated: ``rank_all(model, loaders[2], config["device"])`` gives the
    run's own ranks. Building a model draws from the global random generators, which are seeded as in the run.

    Args:
        path: the run directory.
        overrides: settings of this machine that replace the run's, such as ``{"device": "cpu"}`` or ``data_path``.

    Raises:
        UserError: there is no finished run, its model or data set is not to be had here, the data set or its catalogue
            is not the one the model was trained on, or the weights are damaged or do not fit.
    """
    directory = finished_run(path)
    directory.refuse_refitted()
    config = load_config(None, None, [directory.config_file], overrides=overrides)
    data = load_data(config)
    check_catalogue(directory.read_items(), data.tokens, directory.items_file)
    changed = Protocol.of_run(directory).differences(Protocol.of(config, data))
    if changed:
        raise UserError(
            f"{path} belongs to other data than data set {config['dataset']} now is ({', '.join(changed)} differ); "
            f"bring that data back or train again"
        )
    data = trained_on(config, data)
    model, loaders = build_model(config, data)
    weights = read_weights(directory.model_file, str(config["device"]))
    restore_model(model, {"state_dict": weights}, directory.model_file)
    return LoadedRun(config, data, model.eval(), loaders)


def build_model(config: SessionConfig, data: SessionData) -> tuple[nn.Module, Loaders]:
    """A freshly seeded model, on its device, and the loaders of a data set; the same seed makes the same model."""
    init_seed(config["seed"], config["reproducibility"])
    datasets = SessionDataset(config, data).build()
    loaders = build_loaders(config, datasets)
    return accelerated(construct(config, datasets[0])).to(config["device"]), loaders


def find_run(config: SessionConfig, fingerprint: str) -> RunDirectory | None:
    """What there is of a run already: the finished directory with its settings, seed and protocol, else the latest
    interrupted one, else None."""
    model, seed = config.registered_name, config["seed"]
    found = [
        run
        for run in RunDirectory.existing(Path(config["run_dir"]), config["dataset"], model, seed, config.hash())
        if _is_of(run, config, fingerprint)
    ]
    finished = [run for run in found if run.finished]
    return next(iter(finished or found[::-1]), None)


def _is_of(run: RunDirectory, config: SessionConfig, fingerprint: str) -> bool:
    try:
        # A run's name keeps the settings it began with, and some may change when it is continued.
        same = settings_hash(run.read_config()) == config.hash()
        protocol = Protocol.of_run(run)
    except UserError:
        return False
    return same and protocol.fingerprint == fingerprint
