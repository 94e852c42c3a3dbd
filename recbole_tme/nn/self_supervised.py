"""Perturbations of session vectors, and objectives that use them. Nothing here changes its input."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def dynamic_noise(sessions: Tensor, epoch: Tensor, scale: float) -> Tensor:
    r"""Noise that grows with the epoch and keeps each coordinate's sign.

    .. math::
        \Delta = \mathrm{scale} \cdot \ln(t + 2) \cdot \mathrm{sign}(s) \odot u / \|u\|_2, \quad u \sim U(0, 1)^d

    drawn independently for each session and each call.

    Args:
        sessions: session vectors s, ``[B, d]``.
        epoch: t, counted from 0, a scalar tensor.
        scale: of the noise; 0.1 makes :math:`\|\Delta\|` grow from 0.069 to about 0.30 over 20 epochs.

    Returns:
        ``[B, d]``, free of gradient.

    Source: TME-GNN with dynamic perturbations; the form of the noise is SimGCL's (Yu et al., SIGIR 2022).
    """
    direction = F.normalize(torch.rand_like(sessions), dim=-1)
    return scale * torch.log(epoch + 2.0) * sessions.detach().sign() * direction


def shuffled(vectors: Tensor) -> Tensor:
    """Corrupt a batch: its rows in random order, then its columns in random order; ``[B, d]`` -> ``[B, d]``."""
    rows = torch.randperm(vectors.shape[0], device=vectors.device)
    columns = torch.randperm(vectors.shape[1], device=vectors.device)
    return vectors[rows][:, columns]


def discriminate(sessions: Tensor, perturbed: Tensor, corrupted: Tensor) -> Tensor:
    r"""Tell a session's perturbed view from a corrupted one: mean of
    :math:`-\log\sigma(s \cdot s') - \log(1 - \sigma(s' \cdot \tilde s))`.

    Args:
        sessions, perturbed, corrupted: s, s' and :math:`\tilde s`, ``[B, d]`` each.

    Returns:
        Scalar, to be added to the loss.
    """
    alike = (sessions * perturbed).sum(-1)
    unlike = (perturbed * corrupted).sum(-1)
    # log(1 - sigmoid(x)) = -softplus(x)
    return (F.softplus(-alike) + F.softplus(unlike)).mean()


def info_nce(first: Tensor, second: Tensor, same_session: Tensor, temperature: float) -> Tensor:
    """Contrast two views of each session against the other sessions of the batch, both ways.

    Args:
        first, second: views, ``[B, d]`` each.
        same_session: True where two instances are prefixes of one session, ``[B, B]`` bool; they are no negatives of
            each other.
        temperature: of the cosine similarities.

    Returns:
        Scalar mean over instances and directions.

    Source: InfoNCE (van den Oord et al., 2018) between two perturbed views, as in SimGCL.
    """
    similarity = F.normalize(first, dim=-1) @ F.normalize(second, dim=-1).T / temperature
    itself = torch.eye(len(first), dtype=torch.bool, device=first.device)
    similarity = similarity.masked_fill(same_session & ~itself, -torch.inf)
    target = torch.arange(len(first), device=first.device)
    return (F.cross_entropy(similarity, target) + F.cross_entropy(similarity.T, target)) / 2
