"""A trained model's weights in a model of the same settings over another catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from recbole_tme.data.sessions import Sessions
from recbole_tme.errors import UserError
from recbole_tme.nn.item_content import ItemContent, content_of

# An embedding's own weight where content is added to it.
LEARNED = "parametrizations.weight.original"
# A new item that only other new items were clicked beside gets their vectors, once those have some.
PASSES = 3


class Carried(NamedTuple):
    """How many items' vectors came from where."""

    kept: int
    from_neighbours: int
    from_mean: int


def old_rows(old_tokens: Iterable[str], tokens: np.ndarray) -> np.ndarray:
    """The row of each item, by external id, in the old catalogue, int64 ``[N + 1]``: 0 for padding, -1 if it is new."""
    number = {str(token): row for row, token in enumerate(old_tokens)}
    rows = np.fromiter((number.get(str(token), -1) for token in tokens), np.int64, len(tokens))
    rows[0] = 0
    return rows


class NewItems:
    """Makes rows of a table for the items of another catalogue.

    A known item keeps its row. A new one gets the mean of the rows of the items clicked just before and after it, each
    as often as it was clicked there; one without such neighbours the mean of all known items.

    Args:
        rows: as from :func:`old_rows`.
        sessions: the training sessions, in the new catalogue.

    Raises:
        UserError: no item is known.
    """

    def __init__(self, rows: np.ndarray, sessions: Sessions):
        self.rows = rows
        if not (rows > 0).any():
            raise UserError("none of the run's items is left; train a new model (recbole-tme run)")
        same = np.ones(max(0, len(sessions.items) - 1), dtype=bool)
        same[sessions.offsets[1:-1] - 1] = False
        left, right = sessions.items[:-1][same], sessions.items[1:][same]
        beside = sparse.coo_matrix((np.ones(len(left)), (left, right)), shape=(len(rows), len(rows))).tocsr()
        self._beside = (beside + beside.T).tocsr()
        self.from_neighbours = np.zeros(len(rows), dtype=bool)

    @property
    def carried(self) -> Carried:
        """Where the rows came from, after a call."""
        n_new = int((self.rows < 0).sum())
        found = int(self.from_neighbours.sum())
        return Carried(int((self.rows > 0).sum()), found, n_new - found)

    def __call__(self, table: Tensor) -> Tensor:
        """A table of the old catalogue, ``[M + 1, ...]``, as one of the new, ``[N + 1, ...]``."""
        known = self.rows >= 0
        old = table.detach().cpu().double().numpy()
        made = old[self.rows.clip(min=0)].reshape(len(self.rows), -1)
        made[~known] = made[self.rows > 0].mean(0)
        known[0] = False
        for _ in range(PASSES):
            missing = np.flatnonzero(~known)
            weights = self._beside[missing][:, np.flatnonzero(known)]
            total = np.asarray(weights.sum(1)).ravel()
            found = (total > 0) & (missing > 0)
            if not found.any():
                break
            made[missing[found]] = (weights @ made[known])[found] / total[found, None]
            known[missing[found]] = True
            self.from_neighbours[missing[found]] = True
        shape = (len(self.rows), *table.shape[1:])
        return torch.from_numpy(made.reshape(shape)).to(table.dtype)


def carry_over(model: nn.Module, weights: Mapping[str, Tensor], new_items: NewItems, n_old: int) -> None:
    """Put a trained model's parameters into a new one, in place.

    A parameter with a row per item is carried over by :class:`NewItems`, all others as they are. Buffers stay: they are
    made from the training data (an index of sessions, counts) or are constants; running statistics are carried over.

    Args:
        model: freshly made over the new catalogue.
        weights: the old model's state by name.
        new_items: makes the rows.
        n_old: items of the old catalogue, padding included.

    Raises:
        UserError: a parameter has another shape for another reason than the catalogue, or it cannot be told whether it
            has a row per item.
    """
    n_new = len(new_items.rows)
    moved = n_old != n_new or (new_items.rows != np.arange(n_new)).any()
    tables = {
        _joined(name, weight)
        for name, module in model.named_modules()
        for weight in ("weight", LEARNED)
        if isinstance(module, nn.Embedding) and module.num_embeddings == n_new
    }
    with torch.no_grad():
        for name, own in _learnt(model):
            value = weights.get(name)
            if value is None:
                raise UserError(f"the run's weights hold no {name}; they are of other settings, train a new model")
            by_item = value.dim() > 0 and value.shape[0] == n_old and own.shape[0] == n_new
            if by_item and name not in tables and value.shape == own.shape and moved:
                raise UserError(
                    f"{name} has {n_old} rows, as many as there are items, which have moved: whether it goes by item "
                    "cannot be told; train a new model (recbole-tme run)"
                )
            if by_item and moved and value.shape[1:] == own.shape[1:]:
                value = new_items(value)
            if value.shape != own.shape:
                raise UserError(
                    f"{name} is {tuple(value.shape)} in the run and {tuple(own.shape)} over the new catalogue; this "
                    "model cannot be updated, train a new one (recbole-tme run)"
                )
            own.copy_(value)
        for name, module in model.named_modules():
            content = content_of(module)
            if content is not None:
                _carry_content(module, content, weights, _joined(name, "parametrizations.weight.0.features"), new_items)


def _carry_content(
    embedding: nn.Module, content: ItemContent, weights: Mapping[str, Tensor], name: str, new_items: NewItems
) -> None:
    """Turn the map of content, which was carried over, to the new catalogue's features, in place.

    Features are made anew for each catalogue, and their directions turn. Those of the known items say how: the map is
    changed so that known items' content gives what it gave. New items with content begin with it alone.
    """
    known, is_new = np.flatnonzero(new_items.rows > 0), torch.from_numpy(new_items.rows < 0)
    before = weights[name].cpu().double()[new_items.rows[known]]
    turned = torch.linalg.lstsq(content.features.cpu().double()[known], before, driver="gelsd").solution
    content.map.weight.copy_(content.map.weight.cpu().double() @ turned.T)
    table = embedding.get_parameter(LEARNED)
    table[is_new.to(table.device) & (content.features != 0).any(1)] = 0


def _learnt(model: nn.Module):
    """Parameters, and running statistics of normalisations, by name."""
    yield from model.named_parameters()
    for prefix, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            for name, buffer in module.named_buffers(recurse=False):
                yield _joined(prefix, name), buffer


def _joined(module: str, name: str) -> str:
    return f"{module}.{name}" if module else name
