"""The session graph: distinct items as nodes, consecutive clicks as edges, built without a loop or a host copy."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

NO_EDGE, SELF, OUT, IN, BOTH = range(5)
N_RELATIONS = 4


class SessionNodes(NamedTuple):
    """The distinct items of a batch of sessions. Shapes use B sessions padded to L clicks.

    A node stands at the position of its item's first click, so node tensors are as wide as the click tensor and
    positions of later clicks on the same item are empty.

    Attributes:
        nodes: item id per node, ``[B, L]`` long, 0 where there is no node.
        alias: node of each click, ``[B, L]`` long, 0 at padding.
    """

    nodes: Tensor
    alias: Tensor


class SessionGraph(NamedTuple):
    """Graphs of a batch of sessions: their nodes, as in :class:`SessionNodes`, and how each two of them are related.

    Attributes:
        nodes: ``[B, L]`` long.
        alias: ``[B, L]`` long.
        relation: relation code of the ordered pair (row, column), ``[B, L, L]`` long: ``NO_EDGE``, ``SELF``, ``OUT``
            (row is followed by column), ``IN`` (row follows column) or ``BOTH``.
    """

    nodes: Tensor
    alias: Tensor
    relation: Tensor


def session_nodes(item_seq: Tensor) -> SessionNodes:
    """Find the distinct items of right-padded sessions.

    Args:
        item_seq: item ids in click order, ``[B, L]`` long, 0 is padding.
    """
    same = item_seq.unsqueeze(2) == item_seq.unsqueeze(1)
    # argmax returns the first True, and works on integers only.
    alias = same.byte().argmax(dim=2) * (item_seq > 0)
    position = torch.arange(item_seq.shape[1], device=item_seq.device)
    return SessionNodes(nodes=item_seq * (alias == position), alias=alias)


def session_graph(item_seq: Tensor) -> SessionGraph:
    """Build the graphs of right-padded sessions.

    Args:
        item_seq: item ids in click order, ``[B, L]`` long, 0 is padding.

    Source: the relation codes are those of GCE-GNN's session graph (Wang et al., SIGIR 2020, section 4.1), which
    TME-GNN shares. Two clicks in a row on one item make no edge but the self loop every node has.
    """
    nodes, alias = session_nodes(item_seq)
    followed_by = transition_matrix(alias, item_seq > 0)
    preceded_by = followed_by.transpose(1, 2)
    relation = OUT * followed_by.long() + IN * preceded_by.long()
    relation = torch.where(followed_by & preceded_by, BOTH, relation)
    relation = torch.where(torch.diag_embed(nodes > 0), SELF, relation)
    return SessionGraph(nodes, alias, relation)


def transition_matrix(alias: Tensor, clicked: Tensor) -> Tensor:
    """Which node is directly followed by which, ``[B, L, L]`` bool (row is followed by column).

    Args:
        alias: node of each click, ``[B, L]`` long.
        clicked: True where there is a click, ``[B, L]`` bool.
    """
    n_sessions, length = alias.shape
    # Rolled, not cut to length - 1: an exported graph must not depend on whether that is 1.
    has_next = clicked.roll(-1, 1) & (torch.arange(length, device=alias.device) < length - 1)
    pair = alias * length + alias.roll(-1, 1)
    # Pairs that reach into the padding write into one spare cell, which keeps the shapes free of the data.
    pair = torch.where(has_next, pair, length * length)
    cells = torch.zeros(n_sessions, length * length + 1, dtype=torch.bool, device=alias.device)
    cells.scatter_(1, pair, True)
    return cells[:, :-1].view(n_sessions, length, length)


def nodes_to_clicks(node_states: Tensor, alias: Tensor) -> Tensor:
    """State of each click's item.

    Args:
        node_states: ``[B, L, d]``.
        alias: node of each click, ``[B, L]``.

    Returns:
        ``[B, L, d]``; at padding it is node 0's state, to be masked by the caller.
    """
    return node_states.gather(1, alias.unsqueeze(-1).expand(-1, -1, node_states.shape[-1]))


class Cells:
    """The cells of a padded tensor that hold something, so that dense layers need not run on the others.

    Where clicks repeat an item a third of a batch's node cells are empty. On a GPU nothing is left out: to ask how
    many cells there are would wait for the device.

    Args:
        occupied: ``[B, L]`` bool.
    """

    def __init__(self, occupied: Tensor):
        self.occupied = occupied
        self.index = None if occupied.device.type != "cpu" else occupied.flatten().nonzero().squeeze(1)

    def pack(self, padded: Tensor) -> Tensor:
        """The occupied rows, ``[B, L, d]`` -> ``[n, d]``."""
        rows = padded.flatten(0, 1)
        return rows if self.index is None else rows.index_select(0, self.index)

    def repeat(self, sessions: Tensor) -> Tensor:
        """Each session's row for every one of its cells, ``[B, d]`` -> ``[n, d]``."""
        length = self.occupied.shape[1]
        if self.index is None:
            return sessions.repeat_interleave(length, dim=0)
        return sessions.index_select(0, self.index // length)

    def spread(self, rows: Tensor) -> Tensor:
        """Back to the padded form, zero elsewhere, ``[n, d]`` -> ``[B, L, d]``."""
        if self.index is None:
            return rows.view(*self.occupied.shape, -1) * self.occupied.unsqueeze(2)
        padded = rows.new_zeros(self.occupied.numel(), rows.shape[1])
        return padded.index_copy(0, self.index, rows).view(*self.occupied.shape, -1)
