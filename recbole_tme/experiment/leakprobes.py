"""What a session's scores must not depend on, and how each dependence shows: one batch scored in several ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tme.data.prefixes import FieldNames

# Of the range of the instance's scores; float32 sums of other widths differ by a hundredth of it.
TOLERANCE = 1e-4
# What the batch as it is gets compared with.
VARIATIONS = {
    "repeated": "scored a second time",
    "history": "after other instances were scored",
    "targets": "beside other targets",
    "sessions": "under other session ids",
    "reversed": "batch in reversed order",
    "alone": "alone, without batch mates",
    "padded": "padded further, or less",
}


class Subject(NamedTuple):
    """A model under test.

    Attributes:
        fresh: gives a new copy of the model, in evaluation mode, that has scored no test instance.
        score: ``score(model, batch)`` -> ``[B, N + 1]``.
        names: the batch's fields.
        n_items: items of the catalogue.
        session_ids: ids of the training sessions, int64 ``[n]``: what a lookup by session id could find.
        max_length: the longest session allowed.
        narrow: batches may be narrower than that.
    """

    fresh: Callable[[], nn.Module]
    score: Callable[[nn.Module, Interaction], Tensor]
    names: FieldNames
    n_items: int
    session_ids: Tensor
    max_length: int
    narrow: bool


@torch.no_grad()
def probe(subject: Subject, batch: Interaction) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Score a batch, and again in each of ``VARIATIONS``, each time with a fresh copy of the model.

    Only "repeated" uses one copy twice. "history" scores the two halves of the batch (every other instance, so that
    prefixes of one session are in both) in two orders.

    Args:
        subject: the model.
        batch: instances on the model's device; prefixes of one session stand together as in evaluation.

    Returns:
        By variation the :func:`largest_moves` of each instance, float64 ``[B]``; the scores of the batch as it is and
        those of each instance alone, ``[B, N + 1]``.
    """
    names, n = subject.names, len(batch)
    backwards = torch.arange(n - 1, -1, -1)
    # First, while a store outside of the model (of its class, say) knows nothing of this batch.
    history = _history(subject, batch)
    copy = subject.fresh()
    scores = _kept(subject, copy, batch)
    others = {"repeated": _kept(subject, copy, batch)}
    del copy
    others["targets"] = _once(subject, changed(batch, names.item, other_targets(batch[names.item], subject.n_items)))
    ids = other_ids(batch[names.session], subject.session_ids)
    others["sessions"] = _once(subject, changed(batch, names.session, ids))
    others["reversed"] = _once(subject, batch[backwards])[backwards]
    copy = subject.fresh()
    alone = torch.cat([_kept(subject, copy, batch[slice(i, i + 1)]) for i in range(n)])
    others["alone"] = alone
    moves = {name: largest_moves(scores, other) for name, other in others.items()}
    moves["history"] = history
    moves["padded"] = _padding(subject, batch, scores)
    return {name: moves[name] for name in VARIATIONS}, scores, alone


def _once(subject: Subject, batch: Interaction) -> Tensor:
    return _kept(subject, subject.fresh(), batch)


def _kept(subject: Subject, model: nn.Module, batch: Interaction) -> Tensor:
    """Scores in memory of their own: a model may hand out the same memory each time."""
    return subject.score(model, batch).clone()


def _history(subject: Subject, batch: Interaction) -> Tensor:
    """How far the scores of each half of a batch move once the other half was scored before it, ``[B]``."""
    moves = torch.zeros(len(batch), dtype=torch.float64, device=batch[subject.names.item].device)
    halves = torch.arange(0, len(batch), 2), torch.arange(1, len(batch), 2)
    if not len(halves[1]):
        return moves
    first, second = (batch[rows] for rows in halves)
    forwards, backwards = subject.fresh(), subject.fresh()
    before = _kept(subject, forwards, first)
    after = _kept(subject, forwards, second)
    moves[halves[1]] = largest_moves(_kept(subject, backwards, second), after)
    moves[halves[0]] = largest_moves(before, _kept(subject, backwards, first))
    return moves


def _padding(subject: Subject, batch: Interaction, scores: Tensor) -> Tensor:
    """How far scores move once item lists are as wide as any session may be, and as narrow as the shorter sessions of
    the batch allow, ``[B]``."""
    field, lengths = subject.names.item_list, batch[subject.names.length]
    lists = batch[field]
    wide = F.pad(lists, (0, max(0, subject.max_length - lists.shape[1])))
    moves = largest_moves(scores, _once(subject, changed(batch, field, wide)))
    rows = (lengths < lists.shape[1]).nonzero().squeeze(1)
    if subject.narrow and len(rows):
        shorter = changed(batch[rows], field, lists[rows, : int(lengths[rows].max())])
        moves[rows] = torch.maximum(moves[rows], largest_moves(scores[rows], _once(subject, shorter)))
    return moves


def changed(batch: Interaction, field: str, values: Tensor) -> Interaction:
    """The batch with other values in one field."""
    return Interaction({**batch.interaction, field: values})


def other_targets(target: Tensor, n_items: int) -> Tensor:
    """For each target another item, half the catalogue away."""
    return (target - 1 + max(1, n_items // 2)) % n_items + 1


def other_ids(own: Tensor, known: Tensor) -> Tensor:
    """For each session id that of a training session, another one for each row as far as there are enough.

    Args:
        own: the rows' ids, ``[B]``.
        known: ids of the training sessions, ``[n]``, at least two different ones.
    """
    known = known.unique()
    rows = torch.linspace(0, len(known) - 1, len(own)).long()
    rows = (rows + (known[rows].to(own.device) == own).long().cpu()) % len(known)
    return known[rows].to(own.device)


def largest_moves(scores: Tensor, other: Tensor) -> Tensor:
    """Largest difference of two scorings of each row, relative to the range of its finite scores.

    Untrained models score all items within a hair's breadth, so an absolute tolerance would see nothing. Scores that
    are all but equal count as if they had a range of a hundredth of their size. Infinite scores move only if the other
    is not the same infinity. Column 0 is padding and left out.

    Args:
        scores, other: ``[B, n]``.

    Returns:
        float64 ``[B]``.
    """
    scores, other = scores[:, 1:].double(), other[:, 1:].double()
    difference = torch.where(scores == other, 0.0, (scores - other).abs()).amax(1)
    finite = scores.isfinite()
    highest = torch.where(finite, scores, -torch.inf).amax(1)
    lowest = torch.where(finite, scores, torch.inf).amin(1)
    size = torch.maximum(highest.abs(), lowest.abs())
    scale = torch.maximum(highest - lowest, size / 100)
    return torch.where(difference > 0, difference / scale, 0.0)


def named_leak(shares: Mapping[str, float], draws: bool = False) -> str | None:
    """What a model does whose scores moved in these variations, in words; the first cause that explains the others.

    Args:
        shares: of ``VARIATIONS``, the share of instances with a score that moves.
        draws: scoring draws random numbers.
    """
    moved = {name for name, share in shares.items() if share > 0}
    if moved and draws:
        return "it draws random numbers while it scores"
    if moved & {"repeated", "history"}:
        return "it keeps what it scores, so that later scores depend on it"
    if "targets" in moved:
        return "it reads the targets that it is to predict"
    if "sessions" in moved and moved & {"alone", "reversed"}:
        return "it looks in the batch for instances with the same session id"
    if "sessions" in moved:
        return "it looks sessions up by their id"
    # Which of several equally similar sessions a search takes may depend on their order, too: in a few instances.
    if "reversed" in moved and shares["reversed"] > shares["alone"] / 2:
        return "its scores depend on the order of the batch"
    if moved & {"alone", "reversed"}:
        return "it reads its batch mates (similar sessions in the batch, or statistics over it)"
    if "padded" in moved:
        return "its scores depend on how far sessions are padded"
    return None
