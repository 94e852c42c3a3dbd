"""Item vectors of a trained model as a table, for search engines, clustering and plots."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import torch
from torch import nn

from recbole_tme.errors import UserError
from recbole_tme.models.base import SessionRecommender
from recbole_tme.serving.saved import SavedModel, build_model
from recbole_tme.utils.files import replacing

ENDINGS = (".parquet", ".csv", ".npy", ".tsv")


def item_vectors(saved: SavedModel) -> np.ndarray:
    """A model's item vectors, float32 ``[N, d]``; row k belongs to ``saved.items.ids[k]``.

    Raises:
        UserError: the model has no item vectors.
    """
    vectors = vectors_of(build_model(saved, torch.device("cpu")), len(saved.items.ids))
    if vectors is None:
        raise UserError(f"model {saved.name} has no item vectors")
    return vectors


@torch.no_grad()
def vectors_of(model: nn.Module, n_items: int) -> np.ndarray | None:
    """The item vectors of a model in memory, float32 ``[n_items, d]``; None where it has none."""
    embedding = getattr(model, "item_embedding", None)
    if isinstance(model, SessionRecommender):
        table = model.item_vectors()
    elif isinstance(embedding, nn.Embedding):
        table = embedding.weight
    else:
        return None
    # Row 0 is the padding; some of RecBole's models have a row for a mask behind the last item.
    return table[1 : n_items + 1].detach().cpu().float().numpy()


def export_vectors(saved: SavedModel, out: Path) -> tuple[int, int]:
    """Write a model's item vectors, whole or not at all.

    Args:
        saved: the model.
        out: the file to make, by its ending: ``.parquet`` or ``.csv`` with the columns item, title and the vector;
            ``.npy`` for the bare array, with ``<name>.items.csv`` beside it; ``.tsv`` for TensorBoard's projector, with
            ``<name>.metadata.tsv`` beside it.

    Returns:
        How many items, and the length of a vector.

    Raises:
        UserError: the model has no item vectors, the ending is another, or a file exists or cannot be written.
    """
    if out.suffix not in ENDINGS:
        raise UserError(f"--out={out}: item vectors are written as {', '.join(ENDINGS)}; end the file's name so")
    beside = {".npy": out.with_suffix(".items.csv"), ".tsv": out.with_suffix(".metadata.tsv")}.get(out.suffix)
    for file in filter(None, (out, beside)):
        if file.exists():
            raise UserError(f"{file} exists already; name another file for --out")
    vectors = item_vectors(saved)
    names = [(item, saved.items.titles.get(item, "")) for item in saved.items.ids]
    if beside is not None:
        _write_rows(beside, ["item", "title"], names, "," if out.suffix == ".npy" else "\t")
    if out.suffix == ".npy":
        with replacing(out) as content:
            np.save(content, vectors)
    elif out.suffix == ".parquet":
        _write_parquet(out, names, vectors)
    elif out.suffix == ".tsv":
        _write_rows(out, None, ((repr(float(x)) for x in row) for row in vectors), "\t")
    else:
        head = ["item", "title", *(f"v{k}" for k in range(vectors.shape[1]))]
        _write_rows(out, head, ((*name, *map(float, row)) for name, row in zip(names, vectors)), ",")
    return len(vectors), vectors.shape[1]


def _write_rows(path: Path, head, rows, delimiter: str) -> None:
    with replacing(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
        if head is not None:
            writer.writerow(head)
        writer.writerows(rows)
        text.flush()
        text.detach()


def _write_parquet(path: Path, names: list[tuple[str, str]], vectors: np.ndarray) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    items, titles = zip(*names)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), vectors.shape[1])
    table = pa.table({"item": pa.array(items, pa.string()), "title": pa.array(titles, pa.string()), "vector": column})
    with replacing(path) as file:
        pq.write_table(table, file)
