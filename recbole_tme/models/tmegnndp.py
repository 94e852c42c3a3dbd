"""TME-GNN with dynamic perturbations."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_tme.models.base import Encoded
from recbole_tme.models.tmegnn import TMEGNN
from recbole_tme.nn.self_supervised import discriminate, dynamic_noise, info_nce, shuffled


class TMEGNNDP(TMEGNN):
    """TME-GNN plus a self-supervised task on perturbed session vectors; the noise grows with the epoch.

    ``ssl_objective: discriminate`` tells a session's perturbed view from a corrupted one; ``info_nce`` contrasts two
    independently perturbed views with the other sessions of the batch, other prefixes of the same session left out.

    Source: TME-GNN with dynamic perturbations (Zhu et al.). Where the public code departs from the paper's intent
    (noise added in place, the task's loss subtracted, the step in the place of the epoch), this follows the intent.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.noise_scale = config["noise_scale"]
        self.ssl_weight = config["ssl_weight"]
        self.ssl_objective = config["ssl_objective"]
        self.ssl_temperature = config["ssl_temperature"]
        # A buffer, so that the schedule is part of the saved state.
        self.register_buffer("epoch", torch.zeros((), dtype=torch.long))

    def begin_epoch(self, epoch: int) -> None:
        self.epoch.fill_(epoch)

    def auxiliary_losses(self, encoded: Encoded, ranked: Tensor) -> dict[str, Tensor]:
        losses = super().auxiliary_losses(encoded, ranked)
        if self.ssl_weight > 0:
            losses["ssl"] = self.ssl_weight * self.ssl_loss(encoded)
        return losses

    def ssl_loss(self, encoded: Encoded) -> Tensor:
        """The unweighted self-supervised loss of a batch, a scalar; it draws random numbers."""
        session = encoded.session
        view = session + dynamic_noise(session, self.epoch, self.noise_scale)
        if self.ssl_objective == "discriminate":
            return discriminate(session, view, shuffled(session))
        other = session + dynamic_noise(session, self.epoch, self.noise_scale)
        same = encoded.session_id.unsqueeze(0) == encoded.session_id.unsqueeze(1)
        return info_nce(view, other, same, self.ssl_temperature)
