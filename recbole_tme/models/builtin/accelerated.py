"""Faster code for RecBole's models, with the same results: graphs of a whole batch at once, scores in aligned rows."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from recbole_tme.models.builtin.discovery import PACKAGE, has_plain_softmax
from recbole_tme.models.plain_softmax import catalogue_scores
from recbole_tme.nn.gated_graph import row_normalised
from recbole_tme.nn.graphs import transition_matrix

# The modules with such a method, and whether its value has the mask too.
RETURNS_MASK = {f"{PACKAGE}.srgnn": True, f"{PACKAGE}.gcsan": False}


def connect_graphs(item_seq: Tensor, with_mask: bool) -> tuple[Tensor, ...]:
    """What ``_get_slice`` of SRGNN and GCSAN returns, number for number, without their loop over clicks.

    Args:
        item_seq: item ids in click order, right-padded with 0, ``[B, L]`` long.
        with_mask: also where there is a click, as SRGNN wants it.

    Returns:
        The node of each click ``[B, L]`` long; the edges ``[B, L, 2 L]``, incoming ones and then outgoing ones, each
        node's adding up to 1; the nodes' item ids in ascending order, padding first where there is any and 0 behind
        the last, ``[B, L]`` long; and the mask ``[B, L]`` bool.
    """
    in_order, click = item_seq.sort(dim=1)
    is_first = torch.ones_like(in_order, dtype=torch.bool)
    is_first[:, 1:] = in_order[:, 1:] != in_order[:, :-1]
    node = is_first.cumsum(1) - 1
    alias = torch.empty_like(node).scatter_(1, click, node)
    items = torch.zeros_like(item_seq).scatter_(1, node, in_order)
    mask = item_seq > 0
    # RecBole divides in double precision and rounds, which for a division comes to the same.
    followed_by = transition_matrix(alias, mask).float()
    edges = torch.cat([row_normalised(followed_by.transpose(1, 2)), row_normalised(followed_by)], dim=2)
    return (alias, edges, items, mask) if with_mask else (alias, edges, items)


def accelerated(model: Any) -> Any:
    """Replace the slow methods of a RecBole model by faster ones with the same results, and return the model.

    These are ``_get_slice`` wherever it is RecBole's, and ``full_sort_predict`` of RecBole's own models with a plain
    softmax.
    """
    module = getattr(getattr(type(model), "_get_slice", None), "__module__", None)
    if module in RETURNS_MASK:
        model._get_slice = functools.partial(connect_graphs, with_mask=RETURNS_MASK[module])
    if has_plain_softmax(type(model)):
        model.full_sort_predict = functools.partial(catalogue_scores, model)
    return model
