"""ATSRec: adversarial training of any sequential model that owns an item embedding."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from recbole_tme.errors import UserError
from recbole_tme.models import registry
from recbole_tme.models.base import SessionRecommender, named
from recbole_tme.models.builtin.discovery import has_plain_softmax
from recbole_tme.models.foundation import SequentialRecommender
from recbole_tme.models.plain_softmax import fused_loss, session_vectors
from recbole_tme.nn.adversarial import add_gradients, fgm, fgsm, free, output_attack, pgd, with_gradient
from recbole_tme.nn.item_content import content_of
from recbole_tme.utils.randomness import replaying, rng_state


class ATSRec(SequentialRecommender):
    r"""Adversarial training of another model, its backbone.

    .. math::
        \min_\theta\; L(\theta) + \lambda \max_{\|\delta\| \le \epsilon} L(\theta; E + \delta)

    where :math:`\delta` moves the item table E wherever the backbone uses it, for its input and for its scores; L is
    the sum of the backbone's training losses. Both terms see the same dropout masks and other random draws, sampled
    negatives among them: a loss over a sample moves the rows it uses, as it depends on no others. Scores, weights and
    their names, settings and schedules are the backbone's.

    ``adv_attack`` names the way :math:`\delta` is found (see :mod:`recbole_tme.nn.adversarial`).

    Source: ATSRec (Zhang and Chen, ICME 2024).

    A class derived from this one and the backbone's is what runs; :meth:`around` makes it, and constructing ``ATSRec``
    itself makes the one for the configuration's ``backbone``.
    """

    backbone_class: type | None = None

    @classmethod
    def around(cls, backbone_class: type) -> type:
        """The class that trains a backbone adversarially, the same object each time.

        Raises:
            UserError: the backbone is ATSRec itself.
        """
        if issubclass(backbone_class, ATSRec):
            raise UserError("backbone: ATSRec cannot be its own backbone; name the model that it should train")
        return _around(backbone_class)

    def __new__(cls, config=None, dataset=None):
        if cls.backbone_class is None:
            # RecBole's own commands look the class up by name alone.
            cls = registry.with_backbone(cls, config["backbone"])
        return super().__new__(cls)

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        if not isinstance(getattr(self, "item_embedding", None), nn.Embedding):
            raise UserError(
                f"backbone: {registry.registered_name(self.backbone_class)} has no item_embedding to perturb; "
                f"choose a model that learns one, such as TMEGNN or SASRec"
            )
        if content_of(self.item_embedding) is not None:
            raise UserError("item_content, item_vectors: ATSRec moves a table that is learned whole; leave them out")
        self.check_settings(config)
        self.adv_weight = config["adv_weight"]
        self.adv_attack = config["adv_attack"]
        self.adv_epsilon = config["adv_epsilon"]
        self.adv_norm = config["adv_norm"]
        self.adv_steps = config["adv_steps"]
        self.adv_step_size = config["adv_step_size"]
        self._fused_loss = fused_loss(config) if has_plain_softmax(self.backbone_class) else None

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Refuse an attack that the backbone does not allow.

        Raises:
            UserError: ``adv_attack: closed_form`` and scores or a loss of another form.
        """
        if settings["adv_attack"] != "closed_form" or cls._is_plain_softmax(settings):
            return
        raise UserError(
            f"adv_attack: closed_form needs cross entropy of session vector times item vector, which "
            f"{registry.registered_name(cls.backbone_class)} does not train with these settings; choose pgd, fgm, fgsm "
            f"or free"
        )

    @classmethod
    def _is_plain_softmax(cls, settings: Mapping[str, Any]) -> bool:
        backbone = cls.backbone_class
        if issubclass(backbone, SessionRecommender):
            return settings["loss_type"] == "full" and all(
                getattr(backbone, part) is getattr(SessionRecommender, part)
                for part in ("losses", "recommendation_loss", "score_catalogue", "query_vectors", "item_vectors")
            )
        return has_plain_softmax(backbone) and settings["loss_type"] == "CE"

    def losses(self, interaction) -> dict[str, Tensor]:
        """The backbone's training losses by name and ``adversarial``, scalars; their sum is minimised.

        The gradient of the whole sum hangs on ``adversarial`` (with closed_form: on each loss its own): the clean pass
        is differentiated here, once, for the attack and for the weights.
        """
        if self.adv_weight == 0 or not torch.is_grad_enabled():
            return self.backbone_losses(interaction)
        if self.adv_attack == "closed_form":
            return self._closed_form_losses(interaction)
        drawn = rng_state()
        clean = self.backbone_losses(interaction)
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        table = self.item_embedding.weight
        of_table = next(i for i, parameter in enumerate(parameters) if parameter is table)
        gradients = torch.autograd.grad(sum(clean.values()), parameters, allow_unused=True)
        adversarial = table.new_zeros(())

        def loss_at(moved: Tensor) -> Tensor:
            with replaying(drawn):
                return self.loss_with_table(moved, interaction)

        def table_gradient(delta: Tensor) -> Tensor:
            leaf = (table.detach() + delta).requires_grad_()
            return torch.autograd.grad(loss_at(leaf), leaf)[0]

        def train_at(delta: Tensor, weight: float) -> Tensor:
            """Add the weighted loss at ``delta`` and its gradients; returns the table's gradient there."""
            nonlocal adversarial, gradients
            loss = loss_at(table + delta)
            found = torch.autograd.grad(loss, parameters, allow_unused=True)
            gradients = add_gradients(gradients, found, weight)
            adversarial = adversarial + weight * loss.detach()
            return found[of_table]

        gradient, ball = gradients[of_table], (self.adv_epsilon, self.adv_step_size, self.adv_steps, self.adv_norm)
        if self.adv_attack == "free":
            free(gradient, lambda delta: train_at(delta, self.adv_weight / self.adv_steps), *ball)
        elif self.adv_attack == "pgd":
            train_at(pgd(gradient, table_gradient, *ball), self.adv_weight)
        elif self.adv_attack == "fgm":
            train_at(fgm(gradient, self.adv_epsilon, self.adv_norm), self.adv_weight)
        else:
            train_at(fgsm(gradient, self.adv_epsilon), self.adv_weight)
        values = {name: value.detach() for name, value in clean.items()}
        return values | {"adversarial": with_gradient(adversarial, parameters, gradients)}

    def calculate_loss(self, interaction) -> Tensor:
        return sum(self.losses(interaction).values())

    def backbone_losses(self, interaction) -> dict[str, Tensor]:
        """The backbone's own training losses by name."""
        backbone = super()
        if hasattr(backbone, "losses"):
            return backbone.losses(interaction)
        if self._fused_loss is not None:
            return named(self._fused_loss(self, interaction))
        return named(backbone.calculate_loss(interaction))

    def loss_with_table(self, table: Tensor, interaction) -> Tensor:
        """Sum of the backbone's losses with ``table`` in the place of the item table; the model is left as it is,
        also when the backbone raises."""
        return functional_call(_BackboneLoss(self), {"model.item_embedding.weight": table}, (interaction,))

    def _closed_form_losses(self, interaction) -> dict[str, Tensor]:
        target = interaction[self.POS_ITEM_ID].unsqueeze(1)
        ours = isinstance(self, SessionRecommender)
        if ours:
            encoded = self._encode(interaction)
            session, scores = encoded.session, self.score_catalogue(encoded)
            scores[:, 0] = -torch.inf
        else:
            session = session_vectors(self, interaction)
            scores = session @ self.item_embedding.weight.T
        others = scores.scatter(1, target, -torch.inf)
        drop = self.adv_epsilon * torch.linalg.vector_norm(session, dim=1)
        clean, attacked = output_attack(others, scores.gather(1, target).squeeze(1), drop)
        auxiliary = self.auxiliary_losses(encoded, others.detach().topk(self.n_ranked).indices) if ours else {}
        return {"recommendation": clean, **auxiliary, "adversarial": self.adv_weight * attacked}


class _BackboneLoss(nn.Module):
    """The backbone's loss as a forward pass, the one thing that ``functional_call`` can call."""

    def __init__(self, model: ATSRec):
        super().__init__()
        self.model = model

    def forward(self, interaction) -> Tensor:
        return sum(self.model.backbone_losses(interaction).values())


@functools.cache
def _around(backbone_class: type) -> type:
    name = registry.wrapped_name("ATSRec", backbone_class)
    content = {"backbone_class": backbone_class, "__module__": __name__, "__doc__": ATSRec.__doc__}
    return type(name, (ATSRec, backbone_class), content)


def __getattr__(name: str) -> type:
    """The class of a name such as ``ATSRec+SASRec``: where pickle looks for it."""
    if name.startswith("ATSRec+"):
        return registry.resolve(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
