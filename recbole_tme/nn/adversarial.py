r"""Perturbations of an item table that make the training loss grow: :math:`\delta` with :math:`\|\delta\|\le\epsilon`.

Every attack works on gradients of the loss with respect to the table, ``[N + 1, d]``, sparse ones too, and leaves row
0, the padding, alone. ``norm`` says what :math:`\|\cdot\|` is: "table" the Frobenius norm of the whole table, "row" the
Euclidean norm of each item's vector, so that every item may move by :math:`\epsilon`. Nothing here changes its input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def fgm(gradient: Tensor, epsilon: float, norm: str = "table") -> Tensor:
    r"""The fast gradient method: :math:`\delta = \epsilon\, G / \|G\|`, to first order the worst of its norm.

    Args:
        gradient: G, ``[N + 1, d]``.
        epsilon: norm of the perturbation (of each row, with ``norm="row"``).
        norm: "table" or "row".

    Returns:
        ``[N + 1, d]``; 0 where the gradient is.

    Source: Miyato et al. (ICLR 2017).
    """
    gradient = _items_only(gradient)
    size = _norm(gradient, norm)
    return epsilon * gradient / torch.where(size > 0, size, 1)


def fgsm(gradient: Tensor, epsilon: float) -> Tensor:
    r"""The fast gradient sign method: :math:`\delta = \epsilon\, \mathrm{sign}(G)`, the worst whose every number is at
    most :math:`\epsilon`. Shapes as in :func:`fgm`.

    Source: Goodfellow et al. (ICLR 2015).
    """
    return epsilon * _items_only(gradient).sign()


def ascend(delta: Tensor, gradient: Tensor, epsilon: float, step_size: float, norm: str = "table") -> Tensor:
    r"""One step of length ``step_size`` up the gradient, then back to the nearest point of the :math:`\epsilon` ball.

    Args:
        delta: where to start, ``[N + 1, d]``.
        gradient: of the loss at ``delta``, ``[N + 1, d]``.
        epsilon, norm: the ball.
        step_size: length of the step (of each row, with ``norm="row"``).
    """
    moved = delta + fgm(gradient, step_size, norm)
    return moved * (epsilon / _norm(moved, norm).clamp(min=epsilon))


def pgd(
    gradient: Tensor,
    gradient_at: Callable[[Tensor], Tensor],
    epsilon: float,
    step_size: float,
    steps: int,
    norm: str = "table",
) -> Tensor:
    """Projected gradient ascent from 0: ``steps`` times :func:`ascend`.

    Args:
        gradient: of the loss without perturbation, ``[N + 1, d]``; known from the clean pass.
        gradient_at: gradient of the loss at a perturbation; called ``steps - 1`` times.
        epsilon, step_size, norm: as in :func:`ascend`.
        steps: at least 1.

    Returns:
        The perturbation, ``[N + 1, d]``.

    Source: Madry et al. (ICLR 2018); ATSRec's attack (Zhang and Chen, ICME 2024), with the norms of this module.
    """
    delta = ascend(torch.zeros_like(gradient, layout=torch.strided), gradient, epsilon, step_size, norm)
    for _ in range(steps - 1):
        delta = ascend(delta, gradient_at(delta), epsilon, step_size, norm)
    return delta


def free(
    gradient: Tensor,
    visit: Callable[[Tensor], Tensor],
    epsilon: float,
    step_size: float,
    replays: int,
    norm: str = "table",
) -> None:
    """The path of :func:`pgd`, with every point on it trained on: one pass gives the gradient of the weights there and
    of the table for the next step.

    Args:
        gradient: of the loss without perturbation, ``[N + 1, d]``.
        visit: called ``replays`` times, with each perturbation; returns the gradient of the table there.
        epsilon, step_size, norm: as in :func:`ascend`.
        replays: m, at least 1.

    Source: free adversarial training (Shafahi et al., NeurIPS 2019), which steps the weights at each replay and keeps
    the perturbation for the next batch; this collects the replays' gradients for one step, as FreeLB does (Zhu et al.,
    ICLR 2020), so that it goes with any optimiser.
    """
    delta = torch.zeros_like(gradient, layout=torch.strided)
    for _ in range(replays):
        delta = ascend(delta, gradient, epsilon, step_size, norm)
        gradient = visit(delta)


def output_attack(others: Tensor, of_target: Tensor, drop: Tensor) -> tuple[Tensor, Tensor]:
    r"""Softmax cross entropy, as it is and after each target's score has fallen.

    The worst that a perturbation :math:`\|\delta\|\le\epsilon` of the target's output vector can do to scores
    :math:`w_j \cdot h` is to lower the target's to :math:`w_y \cdot h - \epsilon\|h\|`, at
    :math:`\delta = -\epsilon h / \|h\|`: nothing else moves, and the loss falls as that score rises.

    Args:
        others: scores, ``[B, n]``, -inf for the target and where an item takes no part.
        of_target: the targets' scores, ``[B]``.
        drop: what each of them falls by, :math:`\epsilon\|h\|`, ``[B]``.

    Returns:
        The mean loss without and with the attack, scalars.
    """
    # Cross entropy is softplus(gap): one pass over the scores serves both losses.
    gap = others.logsumexp(dim=1) - of_target
    return F.softplus(gap).mean(), F.softplus(gap + drop).mean()


class _KnownGradient(torch.autograd.Function):
    """A number whose backward pass was done before."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: Sequence[Tensor | None], *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(*gradients)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(None if g is None else g * grad_output for g in ctx.saved_tensors)


def with_gradient(value: Tensor, parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> Tensor:
    """A loss whose gradient is known already: ``backward`` hands ``gradients`` to the parameters.

    Args:
        value: the loss, a scalar.
        parameters: tensors that require a gradient.
        gradients: one for each; None where the loss does not depend on the parameter.
    """
    loss: Tensor = _KnownGradient.apply(value.detach(), gradients, *parameters)  # type: ignore[no-untyped-call]
    return loss


def add_gradients(
    gradients: Sequence[Tensor | None], others: Sequence[Tensor | None], factor: float
) -> list[Tensor | None]:
    """``gradients + factor * others``, one by one; None stands for 0."""
    return [
        first if second is None else factor * second if first is None else torch.add(first, second, alpha=factor)
        for first, second in zip(gradients, others)
    ]


def _items_only(gradient: Tensor) -> Tensor:
    gradient = gradient.to_dense() if gradient.is_sparse else gradient.clone()
    gradient[0] = 0
    return gradient


def _norm(values: Tensor, norm: str) -> Tensor:
    size: Tensor = torch.linalg.vector_norm(values, dim=1 if norm == "row" else (0, 1), keepdim=True)
    return size
