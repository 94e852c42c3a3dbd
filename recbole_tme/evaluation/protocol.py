"""The data a run sees, and the fingerprint that says which runs may stand in one table."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from recbole_tme.config.load import SessionConfig
from recbole_tme.data.cache import read_cached
from recbole_tme.data.locate import locate
from recbole_tme.data.readers.atomic import read_dataset
from recbole_tme.data.sessions import SessionData, Sessions
from recbole_tme.data.split import validation_cut


def load_data(config: SessionConfig) -> SessionData:
    """Find and read the data set a configuration names, with its validation cut.

    Raises:
        UserError: the data set is not there, or a file of it is not well formed.
    """
    read = read_cached if config["data_cache"] else read_dataset
    data = read(locate(config["dataset"], config["data_path"]), config["dataset"])
    return data if data.valid is not None else validation_cut(data, config["valid_ratio"])


def with_validation_in_train(data: SessionData) -> SessionData:
    """Train on train + validation, as the papers do."""
    return replace(data, train=concatenate(data.train, data.valid))


def trained_on(config: SessionConfig, data: SessionData) -> SessionData:
    """The data set with what a run's final model is trained on as its ``train``."""
    return with_validation_in_train(data) if config["retrain"] or config["select_on"] == "test" else data


def concatenate(first: Sessions, second: Sessions) -> Sessions:
    """The sessions of ``first`` followed by those of ``second``."""

    def both(name: str):
        parts = getattr(first, name), getattr(second, name)
        return None if parts[0] is None or parts[1] is None else np.concatenate(parts)

    targets = None
    if first.is_target is not None or second.is_target is not None:
        targets = np.concatenate([explicit_targets(first), explicit_targets(second)])
    return Sessions(
        items=both("items"),
        offsets=np.concatenate([first.offsets, second.offsets[1:] + first.offsets[-1]]),
        ids=both("ids"),
        times=both("times"),
        is_target=targets,
    )


def explicit_targets(sessions: Sessions) -> np.ndarray:
    """``is_target`` spelled out, bool ``[n_clicks]``."""
    if sessions.is_target is not None:
        return sessions.is_target
    targets = np.ones(len(sessions.items), dtype=bool)
    targets[sessions.offsets[:-1]] = False
    return targets


def describe_protocol(config: SessionConfig, data: SessionData) -> dict:
    """What must be equal for two runs to stand in one table, as plain data with a fingerprint.

    The fingerprint covers the catalogue, the instances of every split, truncation and the selection rule.
    """
    digest = hashlib.sha256("\n".join(data.tokens).encode())
    for split in (data.train, data.valid, data.test):
        digest.update(np.ascontiguousarray(split.items, dtype=np.int32).tobytes())
        digest.update(np.ascontiguousarray(split.offsets, dtype=np.int64).tobytes())
        digest.update(explicit_targets(split).tobytes())
    protocol = {
        "dataset": config["dataset"],
        "data_sha256": digest.hexdigest(),
        "items": len(data.tokens) - 1,
        "train_instances": len(data.train.instances()[0]),
        "valid_instances": len(data.valid.instances()[0]),
        "test_instances": len(data.test.instances()[0]),
        "test_sessions": len(data.test),
        "max_clicks": config["MAX_ITEM_LIST_LENGTH"],
        "select_on": config["select_on"],
        "retrain": config["retrain"],
    }
    fingerprint = hashlib.sha256(repr(sorted(protocol.items())).encode()).hexdigest()[:12]
    return protocol | {"fingerprint": fingerprint}
