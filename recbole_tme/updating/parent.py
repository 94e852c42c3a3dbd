"""The model that an update starts from: any finished run's, with the data set that it knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from recbole_tme.config.load import SessionConfig, load_config
from recbole_tme.data.sessions import SessionData
from recbole_tme.errors import UserError
from recbole_tme.evaluation.protocol import Protocol, load_data, trained_on
from recbole_tme.experiment.refit import CHANGEABLE, everything
from recbole_tme.experiment.run import check_same_data
from recbole_tme.models.blend import Blend
from recbole_tme.runs.checkpoint import check_catalogue, read_weights
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.runs.find import finished_run
from recbole_tme.utils.files import file_sha256


@dataclass(frozen=True)
class Parent:
    """A finished run.

    Attributes:
        directory: the run.
        config: its configuration.
        data: the data set as the model was trained on it; of a refit, ``test`` is a session of ``train``.
        whole: all sessions of the data set as ``train``, in their order; the first ``len(data.train)`` of them are
            those that the model was trained on.
        weights: the model's state by name.
    """

    directory: RunDirectory
    config: SessionConfig
    data: SessionData
    whole: SessionData
    weights: Mapping[str, Tensor]

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the file of weights."""
        return file_sha256(self.directory.model_file)


def read_parent(path: Path | str, overrides: Mapping[str, Any] | None = None) -> Parent:
    """Read a finished run, its data set and its weights.

    Args:
        path: a run directory: a run's, a refit's, or that of an update.
        overrides: settings of this machine (:data:`~recbole_tme.experiment.refit.CHANGEABLE`).

    Raises:
        UserError: there is no finished run, its data set has changed or is gone, its weights are damaged, or it is a
            blend.
    """
    directory = finished_run(path)
    fixed = sorted(set(overrides or {}) - set(CHANGEABLE))
    if fixed:
        raise UserError(f"--{fixed[0]} cannot change in an update (only {', '.join(CHANGEABLE)} can)")
    config = load_config(None, None, [directory.config_file], overrides=overrides).replaced(nproc=1)
    if issubclass(config.model_class, Blend):
        raise UserError(f"{path} is a blend; update its runs and blend those")
    whole = everything(config)
    if directory.refit_file.is_file():
        data = whole
    else:
        split = load_data(config)
        check_same_data(directory, Protocol.of(config, split))
        data = trained_on(config, split)
    check_catalogue(directory.read_items(), list(data.tokens), directory.items_file)
    weights = read_weights(directory.model_file, str(config["device"]))
    return Parent(directory, config, data, whole, weights)
