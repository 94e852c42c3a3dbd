"""Training sessions that share items with the current one, and the items they hold: batched look-ups in tensors."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tme.nn.readout import first_clicks

# Where learning the powers of rarity and size begins.
START_RARITY, START_SIZE = 2.0, 0.5


class Neighbours(NamedTuple):
    """The training sessions that share an item with each session of a batch, C in all, session by session.

    Attributes:
        row: whose neighbour each one is, ``[C]`` long, ascending.
        session: its number, ``[C]`` long, ascending within a row.
        similarity: ``[C]``, at least 0.
    """

    row: Tensor
    session: Tensor
    similarity: Tensor


class NeighbourIndex(nn.Module):
    """Items by training session and training sessions by item, in int32: 8 bytes a click and 4 per session and item.

    Two sessions are as similar as the rarity of the items they share, and less so the more items the training session
    holds and the longer ago it was: the sum of ``ln(M / m_i) ** p`` over the shared items i, divided by ``n ** q`` and
    times ``exp(-a * age)``, where ``m_i`` of the M training sessions hold item i, n is the number of the training
    session's distinct items, and its age is the number of sessions since then, as a share of M. The three numbers
    a, p, q begin at 0, 2, 1/2 and can be learned.

    A session that is itself one of the training sessions can be left out of its own look-up, which then gives what an
    index made without that session would give; its neighbours are as old as they are far from it, before or after.

    Args:
        items: the clicks of all training sessions, in order of time, ``[n]`` long.
        offsets: where each session begins in them, ``[M + 1]`` long.
        n_items: items of the catalogue and padding.
        sample_size: training sessions considered for each item of a session, the most recent ones.

    Source: set similarity with inverse session frequencies, as in VSKNN (Ludewig and Jannach, 2018); neighbours that
    fade with their age, as in STAN (Garg et al., 2019).
    """

    # Where each item's part of a list begins: items that are added at the end have empty parts.
    starts_by_item = ("session_starts",)
    learned: nn.Parameter
    items: Tensor
    item_starts: Tensor
    sessions: Tensor
    session_starts: Tensor

    def __init__(self, items: Tensor, offsets: Tensor, n_items: int, sample_size: int):
        super().__init__()
        self.n_items, self.sample_size = n_items, sample_size
        # What is added to a, p and q: a model may draw its parameters around 0.
        self.learned = nn.Parameter(torch.zeros(3))
        n_sessions = len(offsets) - 1
        session = torch.repeat_interleave(torch.arange(n_sessions), offsets.diff())
        distinct = torch.unique(session * n_items + items)
        session, items = distinct // n_items, distinct % n_items
        recent_first = torch.argsort(items * n_sessions + (n_sessions - 1 - session))
        self.register_buffer("items", items.int())
        self.register_buffer("item_starts", _starts(session, n_sessions))
        self.register_buffer("sessions", session[recent_first].int())
        self.register_buffer("session_starts", _starts(items, n_items))

    @property
    def n_sessions(self) -> int:
        """How many training sessions there are, M."""
        return len(self.item_starts) - 1

    def find(self, item_seq: Tensor, own: Tensor | None = None) -> Neighbours:
        """The neighbours of sessions.

        Args:
            item_seq: their clicks, ``[B, L]`` long, 0 is padding.
            own: the number of the training session that each of them is a part of, to be left out, or -1, ``[B]`` long.
        """
        row, column = first_clicks(item_seq).nonzero(as_tuple=True)
        clicked = item_seq[row, column]
        begin = self.session_starts[clicked].long()
        count = self.session_starts[clicked + 1].long() - begin
        excluded = torch.zeros_like(count)
        if own is not None:
            # One more than is wanted, in whose place the session's own may be.
            excluded = (own >= 0)[row].long()
        looked_at = count.clamp(max=self.sample_size + excluded)
        owner, place = _ranges(looked_at)
        session = self.sessions[begin[owner] + place].long()
        if own is not None:
            is_own = session == own[row[owner]]
            own_place = torch.full_like(count, torch.iinfo(count.dtype).max)
            own_place[owner[is_own]] = place[is_own]
            rank = place - (own_place[owner] < place).long()
            kept = ~is_own & (rank < self.sample_size)
            owner, session = owner[kept], session[kept]
        rarity = self._rarity(count, excluded)
        now = torch.full((len(item_seq),), self.n_sessions, device=item_seq.device)
        if own is not None:
            now = torch.where(own >= 0, own, now)
        return self._merge(row[owner], session, rarity[owner], now)

    def _rarity(self, count: Tensor, excluded: Tensor) -> Tensor:
        """A power of the log of how few of the training sessions hold an item; a session's own counts for neither."""
        others = (self.n_sessions - excluded).clamp(min=1).float()
        # An item of all sessions has a rarity of next to 0, whose power has a slope.
        few = (others / (count - excluded).clamp(min=1)).log().clamp(min=1e-6)
        return few ** (START_RARITY + self.learned[1])

    def _merge(self, row: Tensor, session: Tensor, rarity: Tensor, now: Tensor) -> Neighbours:
        key, order = torch.sort(row * self.n_sessions + session, stable=True)
        key, place = torch.unique_consecutive(key, return_inverse=True)
        total = rarity.new_zeros(len(key)).index_add_(0, place, rarity[order])
        row, session = key // max(1, self.n_sessions), key % max(1, self.n_sessions)
        size = (self.item_starts[session + 1] - self.item_starts[session]).float()
        age = (now[row] - session).abs() / max(1, self.n_sessions)
        fading = torch.exp(-self.learned[0] * age)
        return Neighbours(row, session, total * fading / size ** (START_SIZE + self.learned[2]))

    def mass(self, found: Neighbours, item_seq: Tensor) -> Tensor:
        """The sum of each session's scores over all items that are not in it; ``[B, L]`` long -> ``[B]``."""
        row, item, similarity = self.candidates(found)
        is_new = ~(item.unsqueeze(1) == item_seq[row]).any(dim=1)
        return similarity.new_zeros(len(item_seq)).index_add_(0, row[is_new], similarity[is_new])

    def candidates(self, found: Neighbours) -> tuple[Tensor, Tensor, Tensor]:
        """Every item of every neighbour: its session, the item and the neighbour's similarity, ``[n]`` each; an item's
        score is the sum over its entries."""
        begin = self.item_starts[found.session].long()
        owner, place = _ranges(self.item_starts[found.session + 1].long() - begin)
        return found.row[owner], self.items[begin[owner] + place].long(), found.similarity[owner]

    def scores(self, found: Neighbours, n_rows: int) -> Tensor:
        """The scores of the catalogue, the session's own items included, ``[B, N + 1]``."""
        row, item, similarity = self.candidates(found)
        scores = similarity.new_zeros(n_rows * self.n_items)
        return scores.index_add_(0, row * self.n_items + item, similarity).view(n_rows, self.n_items)

    def rename_items(self, new_id: Tensor) -> None:
        """Give every item i the number ``new_id[i]``, ``[N + 1]`` long."""
        renamed = NeighbourIndex(new_id[self.items.long()], self.item_starts.long(), self.n_items, self.sample_size)
        self.load_state_dict(renamed.state_dict() | {"learned": self.learned})

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # How many clicks and sessions there are is known from what is loaded.
        for name in ("items", "item_starts", "sessions"):
            stored = state_dict.get(prefix + name)
            if stored is not None:
                setattr(self, name, getattr(self, name).new_empty(stored.shape))
        super()._load_from_state_dict(state_dict, prefix, *args)


def _starts(owner: Tensor, n: int) -> Tensor:
    return F.pad(torch.bincount(owner, minlength=n).cumsum(0), (1, 0)).int()


def _ranges(counts: Tensor) -> tuple[Tensor, Tensor]:
    """The numbers 0 .. counts[j] - 1 for each j in turn: j and the number, ``[n]`` long each."""
    owner = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    start = counts.cumsum(0) - counts
    return owner, torch.arange(len(owner), device=counts.device) - start[owner]
