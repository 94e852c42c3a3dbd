"""Stock RecBole's way to the same data: its prefix files, its settings, its loaders. Imports nothing of ours."""

from __future__ import annotations

import sys
from pathlib import Path

SPLITS = ("train", "valid", "test")


def write_presplit(data, root: Path) -> None:
    """Write sessions as RecBole's session benchmark files, one row per prefix, numbered from 1 in each file as there.

    Args:
        data: a ``SessionData`` with its validation split.
        root: folder the data set's own folder is made in.
    """
    folder = root / data.name
    folder.mkdir(parents=True)
    for split in SPLITS:
        sessions = getattr(data, split)
        names = data.tokens[sessions.items].tolist()
        starts = sessions.offsets.tolist()
        session, target = (array.tolist() for array in sessions.instances())
        with open(folder / f"{data.name}.{split}.inter", "w", encoding="utf-8") as file:
            file.write("session_id:token\titem_id_list:token_seq\titem_id:token\n")
            for row, (s, t) in enumerate(zip(session, target), start=1):
                file.write(f"{row}\t{' '.join(names[starts[s] : t])}\t{names[t]}\n")


def make_config(root: Path, name: str, max_length: int, batch_size: int, model: str = "GRU4Rec", **further):
    """RecBole's configuration for those files, with cross entropy and no sampled negatives.

    Args:
        root, name: as :func:`write_presplit` had them.
        max_length: clicks of a prefix that are kept.
        batch_size: of training and evaluation.
        model: one of RecBole's own sequential models.
        further: more settings.
    """
    from recbole.config import Config

    # RecBole reads every argument of the process as a setting.
    sys.argv = sys.argv[:1]
    settings = {
        "data_path": str(root),
        "USER_ID_FIELD": "session_id",
        "ITEM_ID_FIELD": "item_id",
        "load_col": {"inter": ["session_id", "item_id_list", "item_id"]},
        "alias_of_item_id": ["item_id_list"],
        "benchmark_filename": list(SPLITS),
        "MAX_ITEM_LIST_LENGTH": max_length,
        "train_batch_size": batch_size,
        "eval_batch_size": batch_size,
        "train_neg_sample_args": None,
        "gpu_id": "",
        "checkpoint_dir": str(root / "saved"),
        **further,
    }
    return Config(model=model, dataset=name, config_dict=settings)


def first_batch(config):
    """Files to first training batch; returns the training loader and the batch."""
    train = loaders(config)[0]
    return train, next(iter(train))


def loaders(config):
    """RecBole's loaders of the training, validation and test instances."""
    from recbole.data import create_dataset, data_preparation

    return data_preparation(config, create_dataset(config))
