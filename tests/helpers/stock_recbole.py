"""RecBole's own configuration, data set and loaders on small presplit files, to compare with."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from recbole.config import Config
from recbole.data import create_dataset, data_preparation

from recbole_tme.data.sessions import PAD_TOKEN, SessionData, Sessions

SPLITS = ("train", "valid", "test")


def make_sessions(clicks: list[list[int]], tag: str, is_target: list[list[bool]] | None = None) -> Sessions:
    """Sessions from lists of item ids, named by the tag and their number."""
    return Sessions(
        items=np.array([item for session in clicks for item in session], dtype=np.int32),
        offsets=np.cumsum([0, *map(len, clicks)]).astype(np.int64),
        ids=np.array([f"{tag}{i}" for i in range(len(clicks))], dtype=object),
        is_target=None if is_target is None else np.array([flag for flags in is_target for flag in flags]),
    )


def make_data(
    seed: int = 0, n_items: int = 30, sizes: tuple[int, int, int] = (40, 12, 15), longest: int = 9, shortest: int = 2
) -> SessionData:
    """Random sessions that revisit items."""
    rng = np.random.default_rng(seed)
    parts = [
        make_sessions(
            [rng.integers(1, n_items + 1, rng.integers(shortest, longest + 1)).tolist() for _ in range(n)], tag
        )
        for n, tag in zip(sizes, SPLITS)
    ]
    tokens = np.array([PAD_TOKEN, *(f"i{i}" for i in range(1, n_items + 1))], dtype=object)
    return SessionData("tiny", train=parts[0], valid=parts[1], test=parts[2], tokens=tokens)


def loop_instances(sessions: Sessions) -> list[tuple[int, list[int], int]]:
    """(session, prefix, target) of every instance, longest prefix of each session first, by plain loops."""
    found = []
    for s in range(len(sessions)):
        items = sessions[s].tolist()
        for k in range(len(items) - 1, 0, -1):
            if sessions.is_target is None or sessions.is_target[sessions.offsets[s] + k]:
                found.append((s, items[:k], items[k]))
    return found


def write_presplit(data: SessionData, folder: Path) -> None:
    """The data set as RecBole's prefix files, rows in the order of the instances."""
    folder = folder / data.name
    folder.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        sessions = getattr(data, split)
        lines = ["session_id:token\titem_id_list:token_seq\titem_id:token"]
        for s, prefix, target in loop_instances(sessions):
            lines.append(f"{sessions.ids[s]}\t{' '.join(data.tokens[prefix])}\t{data.tokens[target]}")
        (folder / f"{data.name}.{split}.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_config(monkeypatch, folder: Path, model: str = "GRU4Rec", **settings) -> Config:
    """RecBole's configuration for presplit files of data set "tiny" under ``folder``."""
    monkeypatch.setattr(sys, "argv", sys.argv[:1])
    values = {
        "data_path": str(folder),
        "USER_ID_FIELD": "session_id",
        "ITEM_ID_FIELD": "item_id",
        "load_col": {"inter": ["session_id", "item_id_list", "item_id"]},
        "alias_of_item_id": ["item_id_list"],
        "benchmark_filename": list(SPLITS),
        "MAX_ITEM_LIST_LENGTH": 12,
        "train_batch_size": 16,
        "eval_batch_size": 16,
        "train_neg_sample_args": None,
        "metrics": ["Hit", "MRR", "NDCG", "Precision"],
        "topk": [1, 5, 20],
        "valid_metric": "MRR@20",
        "metric_decimal_place": 12,
        "gpu_id": "",
        "seed": 7,
        "checkpoint_dir": str(folder / "saved"),
        **settings,
    }
    return Config(model=model, dataset="tiny", config_dict=values)


def stock_data(config: Config):
    """RecBole's own data set and loaders of a configuration: ``(dataset, (train, valid, test))``."""
    if pd.__version__ >= "3":
        pytest.skip("RecBole's own data set does not work with pandas 3")
    dataset = create_dataset(config)
    return dataset, data_preparation(config, dataset)
