"""The rank of each target over the whole catalogue: every metric, slice and paired test is computed from it."""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tme.errors import UserError, WrongResult, in_one_line
from recbole_tme.nn import distributed
from recbole_tme.utils import terminal
from recbole_tme.utils.files import write_atomically

# Scores compared at once. A chunk that stays in a core's cache is read three times at the price of one.
CPU_CHUNK = 2**19
GPU_CHUNK = 2**26
# Scores that a model is asked for at once: 512 MB of float32, whatever the batch and the catalogue.
SCORES_AT_ONCE = 2**27
# (session, item) pairs scored at once for a model that can only score pairs.
PAIRS_CHUNK = 2**16


# What numpy raises over files that are missing, cut off, flipped or of another kind.
UNREADABLE = (
    *(OSError, EOFError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, MemoryError),
)


class NonFiniteScores(ValueError):
    """A model's scores hold NaN, which compares with nothing, so the target has no rank."""


@dataclass(frozen=True)
class Ranks:
    """Where each instance's target stood, and what slices of the instances need to know.

    Attributes:
        better: items scored strictly above the target, int32 ``[n]``.
        tied: other items of exactly the target's score, int32 ``[n]``.
        target: item id of the target, int32 ``[n]``.
        session: number of the instance's session within its split, int32 ``[n]``.
        length: clicks before the target, int32 ``[n]``.
        is_repeat: whether the target is among those clicks, bool ``[n]``.
        is_last_click: whether the target is the last one of its session, bool ``[n]``.
    """

    better: np.ndarray
    tied: np.ndarray
    target: np.ndarray
    session: np.ndarray
    length: np.ndarray
    is_repeat: np.ndarray
    is_last_click: np.ndarray

    def __len__(self) -> int:
        return len(self.better)

    @property
    def rank(self) -> np.ndarray:
        """Mean rank over the orders of equal scores, ``1 + better + tied / 2``, float64 ``[n]``."""
        return 1 + self.better + self.tied / 2

    @property
    def tie_share(self) -> float:
        """Share of instances whose target ties with another item."""
        return float(np.mean(self.tied > 0)) if len(self) else 0.0

    @property
    def checksum(self) -> str:
        """SHA-256 of all arrays, hexadecimal: equal for equal ranks, whatever file they are stored in."""
        digest = hashlib.sha256()
        for field in fields(self):
            values = np.ascontiguousarray(getattr(self, field.name), dtype=np.int64)
            digest.update(f"{field.name} {len(values)}\n".encode() + values.tobytes())
        return digest.hexdigest()

    def select(self, wanted: np.ndarray) -> Ranks:
        """The instances of a bool mask or of positions."""
        return Ranks(**{field.name: getattr(self, field.name)[wanted] for field in fields(self)})

    def save(self, path: str | Path) -> None:
        """Write a compressed ``.npz`` that is there whole or not at all.

        Raises:
            UserError: the folder cannot be written to; names the file.
        """
        content = io.BytesIO()
        np.savez_compressed(content, **{field.name: getattr(self, field.name) for field in fields(self)})
        write_atomically(Path(path), content.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> Ranks:
        """Read what :meth:`save` wrote.

        Raises:
            UserError: the file is missing, damaged or something else; names it.
        """
        names = [field.name for field in fields(cls)]
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in names}
        except UNREADABLE as error:
            raise UserError(
                f"{path}: not a readable ranks file ({in_one_line(error)}); evaluate the run again"
            ) from error
        if len({array.shape for array in arrays.values()}) != 1 or arrays["better"].ndim != 1:
            raise UserError(f"{path}: its arrays differ in length; evaluate the run again")
        for name, array in arrays.items():
            kind, word = ("b", "true or false") if name.startswith("is_") else ("iu", "whole numbers")
            if array.dtype.kind not in kind or (array.dtype.kind == "i" and len(array) and array.min() < 0):
                raise UserError(f"{path}: {name} must hold {word}; evaluate the run again")
        return cls(**arrays)


def target_ranks(scores: Tensor, target: Tensor, chunk: int | None = None) -> tuple[Tensor, Tensor]:
    """How many items score above each row's target, and how many others tie with it.

    Nothing is sorted and no top-k is taken. Column 0 is padding: it never counts, whatever it holds. Infinite scores
    compare as usual, so a model may exclude items by -inf.

    Args:
        scores: ``[B, n]``, of any floating dtype and device.
        target: item ids in ``1..n-1``, integer ``[B]``.
        chunk: scores compared at once; memory beyond ``scores`` is one float each. Default by device.

    Returns:
        ``(better, tied)``, int32 ``[B]`` each, on the device of ``scores``.

    Raises:
        NonFiniteScores: a score is NaN (outside column 0).
        ValueError: a target is outside ``1..n-1``.
    """
    n_rows, n_items = scores.shape
    if n_rows and not 1 <= int(target.min()) <= int(target.max()) < n_items:
        raise ValueError(f"targets must lie in 1..{n_items - 1}")
    chunk = chunk or (CPU_CHUNK if scores.device.type == "cpu" else GPU_CHUNK)
    rows = max(1, chunk // n_items)
    own = scores.gather(1, target.to(scores.device).long().unsqueeze(1))
    # Comparing into floats and adding them up is several times faster than into bools. The sum is exact: it counts
    # to less than 2^24 in float32.
    exact = torch.float32 if n_items < 2**24 else torch.float64
    compared = torch.empty(min(rows, n_rows), n_items - 1, dtype=exact, device=scores.device)
    better, worse = compared.new_empty(2, n_rows)
    for start in range(0, n_rows, rows):
        part = slice(start, min(start + rows, n_rows))
        items = scores[part, 1:]
        out = compared[: len(items)]
        torch.sum(torch.gt(items, own[part], out=out), dim=1, out=better[part])
        torch.sum(torch.lt(items, own[part], out=out), dim=1, out=worse[part])
    # Neither better nor worse: the target, items of its score, and whatever is NaN.
    tied = n_items - 2 - better - worse
    not_a_number = own.squeeze(1).isnan()
    for part in (tied > 0).nonzero().squeeze(1).split(rows):
        # The maximum is NaN as soon as one score is.
        not_a_number[part] |= scores[part, 1:].amax(dim=1).isnan()
    if bool(not_a_number.any()):
        row = int(not_a_number.nonzero()[0])
        raise NonFiniteScores(f"the model's scores hold NaN (first in row {row} of a batch of {n_rows})")
    return better.int(), tied.int()


@torch.no_grad()
def rank_all(model, loader, device, progress: bool = False, observe: Callable | None = None) -> Ranks:
    """Rank the target of every instance of a loader, over the whole catalogue, seen items included.

    In a multi-process run each process ranks its batches, and every process gets the ranks of all.

    Args:
        model: any RecBole sequential model; left in the mode (training or evaluation) it came in.
        loader: a ``SessionEvalLoader``, or another with its ``ranked_batches()``, ``dataset`` and ``iid_field``.
        device: where the model is.
        progress: show a bar (on a terminal).
        observe: called as ``observe(scores, index)`` with every batch's scores ``[B, n]`` and its instances' positions
            in the data set, for whoever wants more of them than the ranks.

    Returns:
        The ranks in the order of the loader's data set.

    Raises:
        NonFiniteScores: a score is NaN.
        WrongResult: the model gives no score for each item of the data set.
    """
    score = scorer(model, loader.dataset, device)
    rows = max(1, SCORES_AT_ONCE // loader.dataset.item_num)
    indices, better, tied = [], [], []
    was_training = model.training
    model.eval()
    try:
        n_batches = math.ceil(len(loader) / distributed.size())
        with terminal.bar("ranking", n_batches, "batches", progress and distributed.is_main()) as shown:
            for interaction, index in loader.ranked_batches():
                interaction = interaction.to(device)
                indices.append(index)
                for start in range(0, len(interaction), rows):
                    part = interaction[slice(start, start + rows)]
                    scores = score(part)
                    found = target_ranks(scores, part[loader.iid_field])
                    if observe is not None:
                        observe(scores, index[start : start + rows])
                    # Before the next ones are made, which then take the same memory.
                    del scores
                    better.append(found[0])
                    tied.append(found[1])
                shown.advance()
    finally:
        model.train(was_training)
    about = loader.dataset.instance_arrays()
    n = len(about["target"])
    return Ranks(better=_in_order(better, indices, n), tied=_in_order(tied, indices, n), **about)


def _in_order(parts: list[Tensor], indices: list[Tensor], n: int) -> np.ndarray:
    """The processes' values by position, int32 ``[n]``; a process may have none."""
    values = torch.zeros(n, dtype=torch.int32)
    if parts:
        values[torch.cat(indices)] = torch.cat(parts).cpu()
    return distributed.total(values).numpy()


def scorer(model, dataset, device) -> Callable[[Interaction], Tensor]:
    """Scores of a batch over the catalogue, ``[B, n]``: in one go, or pair by pair where the model only has that.

    Args:
        model: any RecBole sequential model.
        dataset: a ``SessionDataset``.
        device: where the model is; the batches have to be there too.
    """
    n_items = dataset.item_num
    pairwise = False

    def score(interaction: Interaction) -> Tensor:
        nonlocal pairwise
        if not pairwise:
            try:
                scores = model.full_sort_predict(interaction)
            except NotImplementedError:
                pairwise = True
        if pairwise:
            scores = _predict_pairs(model, interaction, dataset.get_item_feature().to(device))
        # RecBole's models give [B, n] or all in one row.
        shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        if shape not in ((len(interaction), n_items), (len(interaction) * n_items,)):
            raise WrongResult(
                f"{type(model).__name__} gave {shape} scores for {len(interaction)} instances and "
                f"{n_items} items (padding included)"
            )
        return scores.view(-1, n_items)

    return score


def _predict_pairs(model, interaction: Interaction, items: Interaction) -> Tensor:
    """``model.predict`` of each instance with each item, in slices of the catalogue, ``[B, n]``."""
    n_rows = len(interaction)
    width = max(1, PAIRS_CHUNK // n_rows)
    parts = []
    for start in range(0, len(items), width):
        part = items[slice(start, start + width)]
        pairs = interaction.repeat_interleave(len(part))
        pairs.update(part.repeat(n_rows))
        parts.append(model.predict(pairs).view(n_rows, len(part)))
    return torch.cat(parts, dim=1)
