"""Items that a trained model does not know, added to it by their content, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from recbole_tme.data.item_recipe import ItemRecipe
from recbole_tme.data.item_vectors import holds_vectors, read_vectors
from recbole_tme.data.items import TITLE, title_column
from recbole_tme.errors import UserError
from recbole_tme.runs.itemlist import ItemList
from recbole_tme.serving.saved import SavedModel, unloaded
from recbole_tme.utils.spelling import did_you_mean

_EMBEDDING = "item_embedding.parametrizations.weight"


def with_new_items(saved: SavedModel, files: Sequence[Path | str] | Path | str) -> SavedModel:
    """A model that also knows the items of some files, by what is known of them.

    Their features are made as those of the training items were, and mapped by what was learned of those. Items that the
    model knows already stay as they are; a new one of which nothing is known that the model has learned from (no word,
    no vector) is left out.

    Args:
        saved: a model trained with ``item_content`` or ``item_vectors``.
        files: tables of items (CSV, ``.item``, Parquet ...) with the columns that the model was trained with, or files
            of vectors, see :func:`~recbole_tme.data.item_vectors.read_vectors`; or one of them; none changes nothing.

    Returns:
        ``saved`` with the new items behind the others, in the order of the files; they have no clicks.

    Raises:
        UserError: the model was trained without the content of items, or a file is not well formed or lacks a column.
    """
    files = [files] if isinstance(files, Path | str) else files
    if not files:
        return saved
    stored = saved.weights.get(f"{_EMBEDDING}.0.recipe")
    if stored is None or not len(stored):
        raise UserError(
            f"new items: model {saved.name} was trained without the content of items and knows nothing of new ones; "
            "train it with --item_content or --item_vectors"
        )
    recipe = ItemRecipe.of_bytes(stored.cpu().numpy().tobytes())
    values, vectors = _read([Path(file) for file in files], recipe)
    known = set(saved.items.ids)
    named = [*(item for of_column in values.values() for item in of_column), *(vectors[0] if vectors else ())]
    items = [item for item in dict.fromkeys(named) if item not in known]
    features = recipe.features(values, vectors, items) if items else np.zeros((0, recipe.size), np.float32)
    is_described = features.any(1)
    features = features[is_described]
    items = [item for item, kept in zip(items, is_described) if kept]
    if not items:
        return saved
    titles = values.get(TITLE, {})
    grown = ItemList(
        [*saved.items.ids, *items],
        np.append(saved.items.clicks, np.zeros(len(items), dtype=np.int64)),
        saved.items.titles | {item: titles[item] for item in items if item in titles},
    )
    model = unloaded(saved, torch.device("cpu"), len(grown.ids))
    weights = _grown(model, saved.weights, len(items), torch.from_numpy(features))
    return replace(saved, items=grown, weights=weights, new_items=saved.new_items + len(items))


def _read(
    files: Sequence[Path], recipe: ItemRecipe
) -> tuple[dict[str, dict[str, str]], tuple[list[str], np.ndarray] | None]:
    """The columns that the recipe wants, by item id, and the vectors."""
    from recbole_tme.data.readers.items import read_item_columns

    values: dict[str, dict[str, str]] = {name: {} for name in recipe.columns}
    vectors = None
    for file in files:
        if holds_vectors(file):
            if recipe.given is None:
                raise UserError(f"{file}: holds vectors, and the model was trained without (--item_vectors)")
            if vectors is not None:
                raise UserError(f"{file}: a second file of vectors; put all of them into one")
            vectors = read_vectors(file)
            if vectors[1].shape[1] != recipe.given.size:
                raise UserError(
                    f"{file}: its vectors have {vectors[1].shape[1]} numbers, those that the model was trained with "
                    f"{recipe.given.size}; make them in the same way"
                )
            continue
        if not values:
            raise UserError(
                f"{file}: is no file of vectors, which the model was trained with; name one (Parquet, or .npy)"
            )
        names, rows = read_item_columns(file)
        for name in values:
            column = title_column(names) if name == TITLE and name not in names else name
            if column not in names:
                raise UserError(
                    f"{file}: no column {name!r}{did_you_mean(name, names)}, which the model was trained with (its "
                    f"columns: {', '.join(names)[:200]})"
                )
            place = names.index(column)
            values[name] |= {item: text for item, row in rows.items() if (text := row[place])}
    return values, vectors


def _grown(model: nn.Module, weights: Mapping[str, Tensor], n_new: int, features: Tensor) -> dict[str, Tensor]:
    """Weights with rows for new items behind the others: zeros, but for what is made from their content."""
    starts = {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        for name in getattr(module, "starts_by_item", ())
    }
    made = dict(weights)
    for name, wanted in model.state_dict().items():
        value = made.get(name)
        if value is None or value.dim() == 0 or wanted.shape == value.shape:
            continue
        if wanted.shape[1:] != value.shape[1:] or len(wanted) != len(value) + n_new:
            # What grows with the training data and not with the items is taken as it is.
            continue
        rows = value.new_zeros(n_new, *value.shape[1:])
        if name in starts:
            rows += value[-1]
        if name == f"{_EMBEDDING}.0.features":
            rows = features.to(value)
        made[name] = torch.cat([value, rows])
    return made
