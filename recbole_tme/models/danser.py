"""A DANSeR-style model: two attentions over receptive fields, repeat/explore scores, hard negatives of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tme.errors import UserError
from recbole_tme.models.base import Encoded, Explanation, SessionRecommender
from recbole_tme.models.neighbour_part import HELD_OUT, NeighbourPart
from recbole_tme.models.training_free.clicks import train_clicks
from recbole_tme.nn.dual_attention import AcrossHops, HopReadout
from recbole_tme.nn.edge_attention import EdgeTypedAttention
from recbole_tme.nn.graphs import nodes_to_clicks, session_graph
from recbole_tme.nn.losses import catalogue_cross_entropy
from recbole_tme.nn.miners import self_adaptive_negatives
from recbole_tme.nn.readout import last_click, masked_mean, reversed_positions, shares
from recbole_tme.nn.repeat_explore import Behaviour, RepeatExplore
from recbole_tme.nn.sampled_losses import sampled_cross_entropy
from recbole_tme.nn.scoring import inner_products
from recbole_tme.nn.unit import CachedUnitRows, unit_rows

# Up to this many items, held-out sessions are evaluated in every step, in larger catalogues in some steps.
ALWAYS_MIXED = 100_000


class DANSeR(SessionRecommender):
    """Dual attention over the receptive fields of a session graph, with scaled-cosine scores.

    This is a re-implementation from the abstract of DANSeR (Chen et al., 2025), the only part of it that is public:
    the equations are ours where the abstract leaves them open. Its parts can be switched off one by one:
    ``field_attention``, ``across_fields``, ``repeat_explore`` and ``hard_weight: 0``; ``neighbours`` is no part of the
    paper's, see :class:`~recbole_tme.models.neighbour_part.NeighbourPart`.
    """

    loss_types = ("full", "sampled")

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        size = self.embedding_size
        self.scale = config["score_scale"]
        self.explore_temperature = config["explore_temperature"]
        self.layers = nn.ModuleList(EdgeTypedAttention(size) for _ in range(config["n_layers"]))
        self.item_dropout = nn.Dropout(config["item_dropout"])
        self.state_dropout = nn.Dropout(config["state_dropout"])
        self.positions = nn.Embedding(self.max_seq_length, size)
        self.across = AcrossHops(size) if config["across_fields"] else None
        n_hops = 1 if self.across is None else config["n_layers"] + 1
        # Saved weights have this name.
        self.fields = nn.ModuleList(HopReadout(size, config["field_attention"]) for _ in range(n_hops))
        self.behaviour = RepeatExplore(size, config["state_dropout"]) if config["repeat_explore"] else None
        self.neighbours = NeighbourPart(self, dataset) if config["neighbours"] else None
        if self.neighbours is not None and self.behaviour is None:
            raise UserError(
                "neighbours: True needs repeat_explore: True, which tells new items from others; set neither or both"
            )
        self.aux_weight = config["aux_weight"]
        self.hard_weight = config["hard_weight"]
        self.hard_candidates = config["hard_candidates"]
        self.hardness = {key: config[f"hard_{key}"] for key in ("alpha", "beta", "power")}
        self.register_buffer("session_count", self._session_counts(dataset))
        self.normalised = self.behaviour is not None
        if self.neighbours is not None:
            self.looks_up = "with neighbours: True it looks training sessions up"
        self._kept = CachedUnitRows()
        self._frozen = False
        self.reset_parameters()

    def _session_counts(self, dataset) -> Tensor:
        """How many training sessions hold each item, ``[N + 1]``; 0 where only a catalogue is known, to be loaded."""
        clicks = train_clicks(dataset, self.USER_ID, self.ITEM_ID, self.ITEM_SEQ, self.ITEM_SEQ_LEN)
        once = np.unique(clicks.session * self.n_items + clicks.items) % self.n_items
        return torch.from_numpy(np.bincount(once, minlength=self.n_items)).float()

    def encode(self, item_seq: Tensor, item_seq_len: Tensor) -> Encoded:
        session, _, _ = self._read(item_seq, item_seq_len)
        return Encoded(session, item_seq, item_seq_len)

    def explain(self, item_seq: Tensor, item_seq_len: Tensor) -> Explanation:
        session, weights, hops = self._read(item_seq, item_seq_len)
        within = torch.stack([shares(weight) for weight in weights], dim=1)
        repeat = None
        if self.behaviour is not None:
            repeat = self.behave(Encoded(session, item_seq, item_seq_len)).log_repeat.exp()
        if hops is None:
            return Explanation(within.squeeze(1), repeat=repeat)
        return Explanation((hops.unsqueeze(2) * within).sum(1), hops, within, repeat)

    def _read(self, item_seq: Tensor, item_seq_len: Tensor) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        """Session vectors of length 1, ``[B, d]``; the weights of the clicks in each receptive field that is read,
        ``[B, L]``; and those of these fields, ``[B, K + 1]``, or None."""
        graph, clicked = session_graph(item_seq), item_seq > 0
        states = self.item_dropout(self.unit_vectors(graph.nodes))
        position = reversed_positions(item_seq_len, item_seq.shape[1]).clamp(max=self.max_seq_length - 1)
        hops = [states]
        for layer in self.layers:
            hops.append(layer(hops[-1], graph.relation))
        hops = [nodes_to_clicks(states, graph.alias) for states in hops]
        read = [
            readout.read(self.state_dropout(clicks) + self.positions(position), item_seq_len, clicked)
            for readout, clicks in zip(self.fields, hops[-len(self.fields) :])
        ]
        vectors, weights = zip(*read)
        if self.across is None:
            return F.normalize(vectors[-1], dim=1), weights, None
        session, shown = self.across.read(torch.stack(vectors, dim=1), masked_mean(hops[0], clicked))
        return F.normalize(session, dim=1), weights, shown

    def item_vectors(self) -> Tensor:
        """Item vectors of length 1 (padding: 0), ``[N + 1, d]``; in evaluation they are made once and kept."""
        table = self.item_embedding.weight
        if self._frozen:
            return table
        return unit_rows(table) if self.training or torch.is_grad_enabled() else self._kept(table)

    def query_vectors(self, encoded: Encoded) -> Tensor:
        # Temperature scaling (Guo et al., ICML 2017): the chances of new items are learnt on sessions that the model
        # comes to know by heart, and too high for others, which puts new items before likelier repeated ones.
        scale = self.scale if self.behaviour is None else self.scale / self.explore_temperature
        return scale * encoded.session

    def train(self, mode: bool = True) -> DANSeR:
        self._kept.invalidate()
        return super().train(mode)

    def freeze(self) -> None:
        super().freeze()
        with torch.no_grad():
            self.item_embedding.weight.copy_(self.item_vectors())
        self._frozen = True

    def unit_vectors(self, items: Tensor) -> Tensor:
        """The same for some items only, ``[...]`` long -> ``[..., d]``."""
        return F.normalize(self.item_embedding(items), dim=-1)

    def recommendation_loss(self, encoded: Encoded, target: Tensor) -> tuple[Tensor, Tensor]:
        """Likelihood of the mixture; where the target is in the session, also the catalogue-wide cross entropy with
        weight ``aux_weight``, without which the item vectors would learn from new targets only."""
        excluded, weight, learns = None, None, None
        mixture = 0.0
        if self.neighbours is not None:
            learns = (~self.neighbours.held_out(encoded.session_id)).to(encoded.session.dtype)
        if self.behaviour is not None:
            behaviour = self.behave(encoded)
            is_target = encoded.item_seq == target.unsqueeze(1)
            is_repeat = is_target.any(dim=1)
            floor = torch.finfo(behaviour.log_item.dtype).min
            of_target = behaviour.log_item.masked_fill(~is_target, floor).amax(dim=1)
            chosen = torch.where(is_repeat, behaviour.log_repeat + of_target, behaviour.log_explore)
            mixture = -(chosen if learns is None else learns * chosen).mean()
            # One pass serves both: new targets compete outside the session, repeated ones with the whole catalogue.
            excluded = encoded.item_seq.masked_fill(is_repeat.unsqueeze(1), 0)
            weight = torch.where(is_repeat, self.aux_weight, 1.0)
            if learns is not None:
                weight = weight * learns
        session = self.scale * encoded.session
        if self.loss_type == "full":
            catalogue, ranked = catalogue_cross_entropy(
                session, self.item_vectors(), target, self.n_ranked, excluded, weight, self.loss_precision
            )
        else:
            table, ranked = self.item_embedding.weight, target.new_empty(len(target), 0)
            catalogue = sampled_cross_entropy(
                session, table, target, self.n_sampled, self.target_share, excluded, weight, unit=True
            )
        loss = catalogue + mixture
        if self.hard_weight > 0:
            loss = loss + self.hard_weight * self.hard_negative_loss(encoded, target, 1.0 if learns is None else learns)
        if self.neighbours is not None:
            loss = loss + HELD_OUT * self.held_out_loss(encoded, target)
        return loss, ranked

    def held_out_loss(self, encoded: Encoded, target: Tensor) -> Tensor:
        """What the neighbours learn from: the loss of the new targets of the sessions that are held out, summed and
        divided by B. No gradient reaches the rest of the model."""
        is_new = ~(encoded.item_seq == target.unsqueeze(1)).any(dim=1)
        rows = (is_new & self.neighbours.held_out(encoded.session_id)).nonzero().squeeze(1)
        # All items are scored for it, which may take longer than the rest of a step where few items are sampled.
        if not len(rows) or torch.rand(()) * self.n_items > ALWAYS_MIXED:
            return sum(0.0 * parameter.sum() for parameter in self.neighbours.parameters())
        item_seq, lengths, target = encoded.item_seq[rows], encoded.item_seq_len[rows], target[rows]
        own = self.neighbours.own_sessions(encoded.session_id[rows])
        with torch.no_grad(), self._without_dropout():
            scores = inner_products(self.query_vectors(self.encode(item_seq, lengths)), self.item_vectors())
            # With the padding's column.
            log_new = scores.scatter_(1, F.pad(item_seq, (0, 1)), -torch.inf).log_softmax(1)
        found = self.neighbours.find(item_seq, lengths, own)
        losses: Tensor = self.neighbours.learning_loss(log_new, item_seq, found, target)
        return losses.sum() / len(encoded.item_seq)

    @contextlib.contextmanager
    def _without_dropout(self) -> Iterator[None]:
        layers = [layer for layer in self.modules() if isinstance(layer, nn.Dropout) and layer.training]
        for layer in layers:
            layer.training = False
        try:
            yield
        finally:
            for layer in layers:
                layer.training = True

    def behave(self, encoded: Encoded) -> Behaviour:
        """The repeat/explore head on a batch."""
        last = self.unit_vectors(last_click(encoded.item_seq, encoded.item_seq_len))
        others = self.session_count[encoded.item_seq]
        if self.training:
            # A training session is one of those that were counted; its own clicks say nothing of its popularity.
            others = (others - 1).clamp(min=0)
        return self.behaviour(encoded.session, last, encoded.item_seq, encoded.item_seq_len, others)

    def hard_negative_loss(self, encoded: Encoded, target: Tensor, weight: Tensor | float = 1.0) -> Tensor:
        """Mean of softplus(z_negative - z_target) over negatives chosen for each session, times the sessions' weights;
        draws random numbers."""
        candidates = torch.randint(1, self.n_items, (len(target), self.hard_candidates), device=target.device)
        in_session = (candidates.unsqueeze(2) == encoded.item_seq.unsqueeze(1)).any(dim=2)
        allowed = ~in_session & (candidates != target.unsqueeze(1))
        positive = (encoded.session * self.unit_vectors(target)).sum(1)
        negatives = (self.unit_vectors(candidates) @ encoded.session.unsqueeze(2)).squeeze(2)
        chosen = self_adaptive_negatives(negatives.detach(), positive.detach(), allowed, **self.hardness).unsqueeze(1)
        gap = self.scale * (negatives.gather(1, chosen).squeeze(1) - positive)
        return (weight * F.softplus(gap) * allowed.gather(1, chosen).squeeze(1)).mean()

    def score_catalogue(self, encoded: Encoded) -> Tensor:
        """Log of each item's chance; without the behaviour part, the scaled cosines."""
        scores = super().score_catalogue(encoded)
        if self.behaviour is None:
            return scores
        behaviour = self.behave(encoded)
        # Padding positions point to column 0, which takes no part.
        scores.scatter_(1, encoded.item_seq, -torch.inf)
        scores[:, 0] = -torch.inf
        scores = scores.log_softmax(dim=1)
        if self.neighbours is not None:
            scores = self.neighbours.mix(scores, self.neighbours.find(encoded.item_seq, encoded.item_seq_len))
            scores[:, 0] = -torch.inf
        scores += behaviour.log_explore.unsqueeze(1)
        repeated = behaviour.log_repeat.unsqueeze(1) + behaviour.log_items(encoded.item_seq)
        return scores.scatter_(1, encoded.item_seq, repeated)

    def score_found(
        self, encoded: Encoded, items: Tensor, products: Tensor, log_others: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if self.behaviour is None:
            return items, products
        behaviour = self.behave(encoded)
        in_session = (items.unsqueeze(2) == encoded.item_seq.unsqueeze(1)).any(dim=2)
        explored = (products - log_others.unsqueeze(1)).masked_fill(in_session, -torch.inf)
        if self.neighbours is not None:
            query, vectors = self.query_vectors(encoded), self.item_vectors()
            items, explored = self.neighbours.mix_found(encoded, query, vectors, items, explored, log_others)
        explored = behaviour.log_explore.unsqueeze(1) + explored
        # Minus infinity at padding and at all but the latest click on an item.
        repeated = behaviour.log_repeat.unsqueeze(1) + behaviour.log_item
        return torch.cat([encoded.item_seq, items], dim=1), torch.cat([repeated, explored], dim=1)

    def score_items(self, encoded: Encoded, items: Tensor) -> Tensor:
        return self.score_catalogue(encoded).gather(1, items.unsqueeze(1)).squeeze(1)
