"""The one class that knows RecBole's Interaction; a model adds an encoder and, if it has any, auxiliary losses."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from recbole_tme.errors import UserError, WrongResult
from recbole_tme.models.foundation import InputType, SequentialRecommender
from recbole_tme.models.loss_choice import LOSS_TYPES, chosen_loss
from recbole_tme.nn.item_content import add_content, fix_content
from recbole_tme.nn.losses import catalogue_cross_entropy
from recbole_tme.nn.readout import shares
from recbole_tme.nn.row_optim import RowEmbedding
from recbole_tme.nn.sampled_losses import bucketed_cross_entropy, rank_in_subset, sampled_cross_entropy
from recbole_tme.nn.scoring import inner_products
from recbole_tme.utils.hardware import has_fast_bfloat16


class Encoded(NamedTuple):
    """What the scoring head and the auxiliary losses are given. The base class fills in what an encoder leaves out.

    Attributes:
        session: session vectors, ``[B, d]``.
        item_seq: the clicks they were made from, ``[B, L]`` long, 0 is padding.
        item_seq_len: clicks per session, ``[B]`` long.
        session_id: number of the session an instance is a prefix of, ``[B]`` long.
        weights: weight of each click in the readout's sum, ``[B, L]``, 0 at padding, for :meth:`explain`; None where
            the model has no such weights.
    """

    session: Tensor
    item_seq: Tensor | None = None
    item_seq_len: Tensor | None = None
    session_id: Tensor | None = None
    weights: Tensor | None = None


class Explanation(NamedTuple):
    """What a session's scores rest on, for a reader.

    Attributes:
        attention: share of each click in the weights of the readout's sum over clicks, by their size whatever their
            sign, ``[B, L]``; adds up to 1, 0 at padding. What the last click adds besides the sum is not in it.
        hops: share of each receptive field, by its number of hops; the single clicks (0 hops) come first,
            ``[B, K + 1]``; adds up to 1.
        hop_attention: attention within each receptive field, ``[B, K + 1, L]``; ``attention`` is their mean weighted by
            ``hops``.
        repeat: chance that the next click is on an item of the session, ``[B]``.
    """

    attention: Tensor
    hops: Tensor | None = None
    hop_attention: Tensor | None = None
    repeat: Tensor | None = None


def loss_precision(name: str, device: torch.device) -> torch.dtype | None:
    """The precision of the catalogue loss's products.

    Args:
        name: ``fp32``, ``bf16``, or ``auto``: bfloat16 where the device multiplies it in hardware.
        device: where the scores are made.

    Returns:
        A data type, or None for the parameters' own.
    """
    if name == "auto":
        name = "bf16" if has_fast_bfloat16(device) else "fp32"
    return torch.bfloat16 if name == "bf16" else None


def named(loss: Tensor | tuple[Tensor, ...]) -> dict[str, Tensor]:
    """What a RecBole model's ``calculate_loss`` returns, by name: one loss, or a tuple whose parts are numbered."""
    if isinstance(loss, tuple):
        return {str(i): part for i, part in enumerate(loss)}
    return {"recommendation": loss}


class SessionRecommender(SequentialRecommender):
    """A session model scored by the inner product of session vector and item embedding.

    Subclasses build their layers in ``__init__`` and call :meth:`reset_parameters` at its end, and implement
    :meth:`encode`; they may add :meth:`auxiliary_losses`, which run in training only. A model with another scoring
    head replaces :meth:`recommendation_loss`, :meth:`score_catalogue` and :meth:`score_items` together; if its scores
    are made from the products of one vector per session and one per item, also :meth:`query_vectors`,
    :meth:`item_vectors` and :meth:`score_found`, and an index can look its best items up.
    """

    input_type = InputType.POINTWISE
    # Padding changes nothing for these models, so that a batch need only be as wide as its longest session.
    variable_length = True
    # How many best-scored items per session the auxiliary losses want to see.
    n_ranked = 0
    # Items of the random subset of the catalogue that they are ranked in; None for the catalogue itself.
    ranked_subset: int | None = None
    # Values of the key loss_type that a model's own recommendation_loss knows.
    loss_types = ("full",)
    # Whether an item's score depends on the products of all others.
    normalised = False
    # What a prediction looks up besides computing, in words, for a model that therefore has no graph to export.
    looks_up: str | None = None

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.embedding_size = config["embedding_size"]
        self.loss_precision = loss_precision(config["loss_precision"], config["device"])
        own_loss = type(self).recommendation_loss is not SessionRecommender.recommendation_loss
        known = self.loss_types if own_loss else LOSS_TYPES
        self.loss_type = chosen_loss(config["loss_type"], self.n_items - 1, config["n_sampled"], known)
        if self.loss_type not in known:
            raise UserError(
                f"loss_type: {self.loss_type} does not fit {type(self).__name__}, which has a loss of its own; set "
                f"loss_type: {' or '.join(known)}"
            )
        self.n_sampled = config["n_sampled"]
        in_batch = config["in_batch_negatives"] and self.loss_type == "sampled"
        share = target_share(dataset, self.ITEM_ID, self.n_items) if in_batch else None
        # Made from the training data each time, so no part of the saved state.
        self.register_buffer("target_share", share, persistent=False)
        self.buckets = {key: config[key] for key in ("n_buckets", "bucket_sessions", "bucket_items")}
        if self.loss_type == "full":
            self.item_embedding = nn.Embedding(self.n_items, self.embedding_size, padding_idx=0)
        else:
            self.item_embedding = RowEmbedding(self.n_items, self.embedding_size)
        if config["item_encoder"] and not config["item_content"]:
            raise UserError("item_encoder: encodes the text of item_content; name title or another column of text")
        if config["item_content"] or config["item_vectors"]:
            self._add_content(config, dataset)

    def _add_content(self, config, dataset) -> None:
        if self.loss_type != "full":
            raise UserError(
                "item_content: with item_vectors, too, every item vector changes in every step; set loss_type: full"
            )
        features = torch.zeros(self.n_items, config["content_size"])
        is_trained = torch.zeros(self.n_items, dtype=torch.bool)
        recipe = None
        # A catalogue alone has none of them; they are among the weights.
        if hasattr(dataset, "inter_feat"):
            if getattr(dataset, "item_features", None) is None:
                raise UserError("item_content: RecBole's own data set knows no content of items; use recbole-tme run")
            features = torch.from_numpy(dataset.item_features.table)
            recipe = torch.frombuffer(bytearray(dataset.item_features.recipe.to_bytes()), dtype=torch.uint8)
            is_trained[dataset.inter_feat.clicks.long()] = True
        add_content(self.item_embedding, features, is_trained, config["content_dropout"], recipe)

    def reset_parameters(self) -> None:
        """Draw every parameter from U(-1/sqrt(d), 1/sqrt(d)), the field's choice and part of the model."""
        bound = self.embedding_size**-0.5
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-bound, bound)
            self.item_embedding.weight[0] = 0

    def encode(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor | Encoded:
        """Encode right-padded sessions, ``[B, L]`` long and ``[B]`` long.

        Returns:
            Session vectors, ``[B, d]``; or an :class:`Encoded` with them, for a model that has more to pass on.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement encode")

    def encoded(self, item_seq: Tensor, item_seq_len: Tensor, session_id: Tensor | None = None) -> Encoded:
        """What :meth:`encode` gives, with what it leaves out.

        Raises:
            WrongResult: it gives something else than session vectors.
        """
        found = self.encode(item_seq, item_seq_len)
        if not isinstance(found, Encoded):
            found = Encoded(found)
        if not torch.compiler.is_compiling():
            self._check_vectors(found.session, len(item_seq))
        return found._replace(item_seq=item_seq, item_seq_len=item_seq_len, session_id=session_id)

    def _check_vectors(self, session: Tensor, n_sessions: int) -> None:
        expected = (n_sessions, self.embedding_size)
        shape = tuple(session.shape) if isinstance(session, Tensor) else (type(session).__name__,)
        if type(self).query_vectors is not SessionRecommender.query_vectors:
            # What multiplies the items is made from these, whatever size they have.
            expected = (n_sessions, shape[1] if len(shape) == 2 else "d")
        if shape != expected:
            raise WrongResult(f"encode returned {shape}, expected session vectors [B, d] = {expected}")

    def explain(self, item_seq: Tensor, item_seq_len: Tensor) -> Explanation | None:
        """What the scores of right-padded sessions rest on, ``[B, L]`` long and ``[B]`` long; None where the model has
        no weights to show."""
        weights = self.encoded(item_seq, item_seq_len).weights
        return None if weights is None else Explanation(shares(weights))

    def begin_epoch(self, epoch: int) -> None:
        """Called before each training epoch, counted from 0, for models whose training changes with time."""

    def auxiliary_losses(self, encoded: Encoded, ranked: Tensor) -> dict[str, Tensor]:
        """Further training losses by name, already weighted.

        Args:
            encoded: the batch.
            ranked: the ``n_ranked`` best-scored items of each session without its target, ``[B, n_ranked]``.
        """
        return {}

    def recommendation_loss(self, encoded: Encoded, target: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of the scores that predictions are made from.

        Args:
            encoded: the batch.
            target: item ids, ``[B]`` long.

        Returns:
            The mean loss, a scalar, and the ``n_ranked`` best-scored items of each session without its target,
            ``[B, n_ranked]`` long; the best of a random subset where ``ranked_subset`` says so.
        """
        session, table = encoded.session, self.item_embedding.weight
        if self.loss_type == "full" and self.ranked_subset is None:
            return catalogue_cross_entropy(session, table, target, self.n_ranked, precision=self.loss_precision)
        if self.n_ranked:
            ranked = rank_in_subset(session, table, target, self.ranked_subset or self.n_items - 1, self.n_ranked)
        else:
            ranked = target.new_empty(len(target), 0)
        if self.loss_type == "sampled":
            loss = sampled_cross_entropy(session, table, target, self.n_sampled, self.target_share)
        elif self.loss_type == "scalable":
            loss = bucketed_cross_entropy(session, table, target, **self.buckets)
        else:
            loss, _ = catalogue_cross_entropy(session, table, target, precision=self.loss_precision)
        return loss, ranked

    def score_catalogue(self, encoded: Encoded) -> Tensor:
        """Scores of all items, ``[B, N + 1]``; column 0 is padding."""
        return inner_products(self.query_vectors(encoded), self.item_vectors())

    def query_vectors(self, encoded: Encoded) -> Tensor:
        """What the items are multiplied with, ``[B, d]``."""
        return encoded.session

    def item_vectors(self) -> Tensor:
        """The vectors of all items, ``[N + 1, d]``; row 0 is padding."""
        return self.item_embedding.weight

    def score_found(
        self, encoded: Encoded, items: Tensor, products: Tensor, log_others: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Scores, as :meth:`score_catalogue` gives them, of items that an index has found.

        Args:
            encoded: the batch.
            items: of each session, distinct item ids, ``[B, m]`` long.
            products: of query and item vector, ``[B, m]``.
            log_others: log of the sum of the exponential products of all items that are not in the session, ``[B]``;
                None unless ``normalised``.

        Returns:
            Item ids, ``[B, n]`` long, and their scores, ``[B, n]``; entries that are none have the score -inf. There
            may be items among them that were not found, but no item twice.
        """
        return items, products

    def freeze(self) -> None:
        """Put what is made from the weights alone in their place, before the model is exported; it then predicts what
        it did, up to rounding, and cannot be trained."""
        fix_content(self.item_embedding)

    def score_items(self, encoded: Encoded, items: Tensor) -> Tensor:
        """Score of one item per session, ``[B]`` long -> ``[B]``."""
        return (encoded.session * self.item_embedding(items)).sum(-1)

    # What RecBole calls.

    def losses(self, interaction) -> dict[str, Tensor]:
        """Every training loss of a batch by name, scalars; their sum is minimised."""
        encoded = self._encode(interaction)
        recommendation, ranked = self.recommendation_loss(encoded, interaction[self.POS_ITEM_ID])
        auxiliary = self.auxiliary_losses(encoded, ranked)
        if not isinstance(auxiliary, dict):
            raise WrongResult(
                f"auxiliary_losses returned {type(auxiliary).__name__}, expected a dict of losses by name"
            )
        return {"recommendation": recommendation, **auxiliary}

    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Session vectors, ``[B, d]``, as RecBole's sequential models return them."""
        return self.encoded(item_seq, item_seq_len).session

    def calculate_loss(self, interaction) -> Tensor:
        loss: Any = sum(self.losses(interaction).values())
        return loss

    def predict(self, interaction) -> Tensor:
        """Scores of the items in ``interaction``, ``[B]``."""
        return self.score_items(self._encode(interaction), interaction[self.ITEM_ID])

    def full_sort_predict(self, interaction) -> Tensor:
        """Scores of the whole catalogue, ``[B, N + 1]``; column 0 is padding."""
        return self.score_catalogue(self._encode(interaction))

    def _encode(self, interaction) -> Encoded:
        return self.encoded(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN], interaction[self.USER_ID])


def target_share(dataset, item_field: str, n_items: int) -> Tensor:
    """Share of each item among a data set's targets, ``[N + 1]``; zeros where the data set is but a catalogue."""
    if not hasattr(dataset, "inter_feat"):
        return torch.zeros(n_items)
    counts = torch.bincount(dataset.inter_feat[item_field], minlength=n_items)
    return counts / counts.sum()
