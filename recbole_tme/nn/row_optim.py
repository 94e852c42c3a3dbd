"""Adam for item tables of which a step touches a few rows only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RowAdam(torch.optim.Adam):
    """Adam that updates only the rows of a table that its sparse gradient names; the other parameters as Adam does.

    A row's moments and the row itself stay as they are until a gradient reaches it, and ``weight_decay`` pulls on a
    row only then: rows that are seen seldom decay less than with Adam, and momentum does not carry a row on after its
    last gradient. Where every row has a gradient in every step this is Adam. Bias correction counts steps, not visits.

    Arguments, state and ``state_dict`` are those of :class:`torch.optim.Adam`.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; a ``closure`` is evaluated first, as for any optimizer of PyTorch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        taken = []
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    self._step_rows(parameter, group)
                    taken.append((parameter, parameter.grad))
                    # Adam refuses sparse gradients and skips parameters without one.
                    parameter.grad = None
        super().step()
        for parameter, gradient in taken:
            parameter.grad = gradient
        return loss

    def _step_rows(self, table: nn.Parameter, group: dict[str, Any]) -> None:
        state = self.state[table]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(table)
            state["exp_avg_sq"] = torch.zeros_like(table)
        state["step"] += 1
        assert table.grad is not None
        gradient = table.grad.coalesce()
        rows, values = gradient.indices()[0], gradient.values()
        before = table[rows]
        if group["weight_decay"]:
            values = values.add(before, alpha=group["weight_decay"])
        beta1, beta2 = group["betas"]
        first = state["exp_avg"][rows].lerp_(values, 1 - beta1)
        second = state["exp_avg_sq"][rows].mul_(beta2).addcmul_(values, values, value=1 - beta2)
        state["exp_avg"].index_copy_(0, rows, first)
        state["exp_avg_sq"].index_copy_(0, rows, second)
        step = float(state["step"])
        size = group["lr"] / (1 - beta1**step)
        scale = second.sqrt_().div_((1 - beta2**step) ** 0.5).add_(group["eps"])
        table.index_copy_(0, rows, before.addcdiv_(first, scale, value=-size))


class RowEmbedding(nn.Embedding):
    """An embedding with sparse gradients, for tables that :class:`RowAdam` updates; id 0 is padding.

    The padding's gradient is zero, not absent: ``nn.Embedding`` looks for padding among the ids, and to learn how much
    it found, waits for the GPU.

    Args:
        n_rows: rows of the table.
        size: of each.
    """

    def __init__(self, n_rows: int, size: int):
        super().__init__(n_rows, size, padding_idx=0, sparse=True)

    def forward(self, ids: Tensor) -> Tensor:
        """Ids of any shape -> ``[*, size]``."""
        return F.embedding(ids, self.weight, sparse=True) * (ids != 0).unsqueeze(-1)


def row_tables(model: nn.Module) -> set[Tensor]:
    """The parameters of a model whose gradients are sparse."""
    return {module.weight for module in model.modules() if isinstance(module, nn.Embedding) and module.sparse}


def clippable(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """Tensors with dense gradients that stand for all parameters in ``torch.nn.utils.clip_grad_norm_``.

    A sparse gradient, which that function does not take, is represented by its values, in place: repeated rows are
    added up first, as their norm is that of the sum.
    """
    stand_ins = []
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
            values = parameter.grad.values()
            stand_in = torch.empty_like(values)
            stand_in.grad = values
            stand_ins.append(stand_in)
        else:
            stand_ins.append(parameter)
    return stand_ins
