"""Rows of length 1, and a cache of them for a table that is not being trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

EPSILON = 1e-12


class _UnitRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        inverse: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp_min_(EPSILON).reciprocal_()
        unit: Tensor = rows * inverse
        ctx.save_for_backward(unit, inverse)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        unit, inverse = ctx.saved_tensors
        along = torch.linalg.vecdot(gradient, unit, dim=1).unsqueeze(1)
        return torch.addcmul(gradient, unit, along, value=-1).mul_(inverse)


def unit_rows(rows: Tensor) -> Tensor:
    """Divide each row by its Euclidean norm: ``F.normalize(rows, dim=1)`` in half the passes over memory.

    For a whole catalogue those passes are the cost. First derivatives only.

    Args:
        rows: ``[N, d]``; a row of zeros stays zero.

    Returns:
        ``[N, d]``.
    """
    unit: Tensor = _UnitRows.apply(rows)  # type: ignore[no-untyped-call]
    return unit


class CachedUnitRows:
    """:func:`unit_rows` of one table, recomputed only when the table has changed; for use without gradients.

    A change is another tensor, other memory or an in-place operation; what is written through ``.data`` is not seen,
    so training code has to call :meth:`invalidate`. Copies and pickles of it are empty.
    """

    def __init__(self) -> None:
        self._kept: tuple[Tensor, int, Tensor] | None = None

    def __call__(self, table: Tensor) -> Tensor:
        """``[N, d]`` -> ``[N, d]``; the caller must not change what is returned."""
        # Neither has a version: what is being traced, and what was made in inference mode.
        if torch.compiler.is_compiling() or table.is_inference():
            return unit_rows(table)
        kept = self._kept
        if kept is None or (kept[0].data_ptr(), kept[1]) != (table.data_ptr(), table._version):
            # The first entry shares the table's memory, which therefore can be no other table's meanwhile.
            kept = self._kept = table.detach(), table._version, unit_rows(table)
        return kept[2]

    def invalidate(self) -> None:
        """Drop the cached rows, so that the next call computes them."""
        self._kept = None

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return CachedUnitRows, ()
