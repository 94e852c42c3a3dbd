"""The data a run sees, and the fingerprint that says which runs may stand in one table."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from recbole_tme.config.load import SessionConfig
from recbole_tme.data.cache import read_cached
from recbole_tme.data.locate import locate
from recbole_tme.data.ragged import concatenate, explicit_targets
from recbole_tme.data.readers.atomic import read_dataset
from recbole_tme.data.sessions import SessionData
from recbole_tme.data.split import validation_cut
from recbole_tme.errors import UserError
from recbole_tme.runs.directory import RunDirectory


def load_data(config: SessionConfig) -> SessionData:
    """Find and read the data set a configuration names, with its validation cut.

    Where it has no test sessions, ``test`` is the validation sessions, the same object.

    Raises:
        UserError: the data set is not there, or a file of it is not well formed.
    """
    read = read_cached if config["data_cache"] else read_dataset
    data = read(locate(config["dataset"], config["data_path"]), config["dataset"])
    data = data if data.valid is not None else validation_cut(data, config["valid_ratio"])
    if len(data.test):
        return data
    if config["retrain"] or config["select_on"] == "test":
        raise UserError(
            f"data set {data.name} has no test sessions (test_ratio=0): leave out retrain and select_on, and train on "
            "everything with --fit=all"
        )
    return replace(data, test=data.valid)


def with_validation_in_train(data: SessionData) -> SessionData:
    """Train on train + validation, as the papers do."""
    return replace(data, train=concatenate([data.train, data.valid]))


def trained_on(config: SessionConfig, data: SessionData) -> SessionData:
    """The data set with what a run's final model is trained on as its ``train``."""
    return with_validation_in_train(data) if config["retrain"] or config["select_on"] == "test" else data


@dataclass(frozen=True)
class Protocol:
    """What must be equal for two runs to stand in one table: catalogue, instances, truncation and selection rule.

    Attributes:
        dataset: name of the data set.
        data_sha256: of its item ids and of the clicks of its three splits.
        items: of the catalogue.
        train_instances, valid_instances, test_instances: (prefix, target) pairs of each split.
        test_sessions: sessions of the test set.
        max_clicks: a prefix's most recent clicks that a model sees.
        select_on: ``valid`` or ``test``: where the best epoch is chosen.
        retrain: whether the model is trained again on train + validation for that many epochs.
    """

    dataset: str
    data_sha256: str
    items: int
    train_instances: int
    valid_instances: int
    test_instances: int
    test_sessions: int
    max_clicks: int
    select_on: str
    retrain: bool

    @classmethod
    def of(cls, config: SessionConfig, data: SessionData) -> Protocol:
        """The protocol of a run with these settings on this data set."""
        digest = hashlib.sha256("\n".join(data.tokens).encode())
        for split in (data.train, data.valid, data.test):
            digest.update(np.ascontiguousarray(split.items, dtype=np.int32))
            digest.update(np.ascontiguousarray(split.offsets, dtype=np.int64))
            digest.update(np.ascontiguousarray(explicit_targets(split)))
        return cls(
            dataset=config["dataset"],
            data_sha256=digest.hexdigest(),
            items=len(data.tokens) - 1,
            train_instances=data.train.n_instances,
            valid_instances=data.valid.n_instances,
            test_instances=data.test.n_instances,
            test_sessions=len(data.test),
            max_clicks=config["MAX_ITEM_LIST_LENGTH"],
            select_on=config["select_on"],
            retrain=config["retrain"],
        )

    @classmethod
    def read(cls, plain: Any, file: Path | str) -> Protocol:
        """The protocol that :meth:`plain` stored.

        Args:
            plain: what was stored.
            file: where, for the message.

        Raises:
            UserError: a figure is missing, or there is one that this version does not know.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(plain, Mapping) or names != plain.keys() - {"fingerprint"}:
            raise UserError(f"{file}: its protocol has not the keys of this version's ({', '.join(sorted(names))})")
        return cls(**{name: plain[name] for name in names})

    @classmethod
    def of_run(cls, run: RunDirectory) -> Protocol:
        """The protocol of a run, finished or not.

        Raises:
            UserError: the run's file that holds it cannot be read.
        """
        if run.finished:
            return cls.read(run.read_metrics()["protocol"], run.metrics_file)
        return cls.read(run.read_environment().get("protocol"), run.environment_file)

    @property
    def fingerprint(self) -> str:
        """12 hexadecimal digits that are equal for equal protocols."""
        return hashlib.sha256(repr(sorted(asdict(self).items())).encode()).hexdigest()[:12]

    def plain(self) -> dict[str, Any]:
        """All figures and the fingerprint, as plain data."""
        return asdict(self) | {"fingerprint": self.fingerprint}

    def differences(self, other: Protocol) -> list[str]:
        """The names of the figures in which two protocols differ, sorted; empty for one protocol."""
        own, theirs = asdict(self), asdict(other)
        return sorted(name for name in own if own[name] != theirs[name])

    def lines(self) -> list[str]:
        """The protocol in words, printed with every table."""
        chosen = "epoch selected on validation"
        if self.retrain:
            chosen += ", then retrained on train + validation"
        if self.select_on == "test":
            chosen = "best-on-test: epoch selected on the test set, not comparable with validation-selected results"
        return [
            f"{self.test_instances:,} test instances of {self.test_sessions:,} sessions, full ranking over "
            f"{self.items:,} items, seen items included",
            f"{chosen}; ties share their mean rank; P@K = Recall@K = Hit@K; figures in percent",
        ]
