"""What a trained model has learned, for use elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_tme.api.running import PathLike, Run, load_plugins

if TYPE_CHECKING:
    import pandas as pd


def export_vectors(
    run: Run | PathLike = "latest",
    out: PathLike | None = None,
    *,
    plugin: Sequence[PathLike] | PathLike = (),
    new_items: Sequence[PathLike] = (),
) -> pd.DataFrame:
    """A trained model's item vectors.

    Args:
        run: a run, its directory, a folder of runs (the newest finished one), ``"latest"``, or a bundle.
        out: also write them to this file, by its ending: ``.parquet`` or ``.csv`` with ids and titles; ``.npy`` for the
            bare array, with ``<name>.items.csv`` beside it; ``.tsv`` for TensorBoard's projector, with
            ``<name>.metadata.tsv`` beside it.
        plugin: files that define further models.
        new_items: tables of items, or files of vectors, with items that the model does not know; a model trained with
            ``item_content`` or ``item_vectors`` makes them vectors from their content.

    Returns:
        float32, a row per item by its external id, a column per dimension.

    Raises:
        UserError: there is no such run, its model has no item vectors, or the file's ending is another, or it exists or
            cannot be written.

    Example:
        >>> vectors = recbole_tme.export_vectors("latest", "items.parquet")  # doctest: +SKIP
        >>> (vectors @ vectors.loc["4711"]).nlargest(10)  # doctest: +SKIP
    """
    import pandas as pd

    from recbole_tme.serving import vectors
    from recbole_tme.serving.bundle import read_saved
    from recbole_tme.serving.new_items import with_new_items

    load_plugins(plugin)
    saved = with_new_items(read_saved(run.path if isinstance(run, Run) else Path(run)), new_items)
    if out is not None:
        vectors.export_vectors(saved, Path(out))
    return pd.DataFrame(vectors.item_vectors(saved), index=pd.Index(saved.items.ids, name="item"))
