"""The part of a model that learns from neighbours: training sessions with common items score what the session lacks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from recbole_tme.models.base import Encoded
from recbole_tme.models.training_free.clicks import session_numbers, train_clicks
from recbole_tme.nn.losses import smooth_rank
from recbole_tme.nn.neighbour_mixture import NeighbourFacts, NeighbourMixture
from recbole_tme.nn.neighbours import NeighbourIndex, Neighbours

# Most recent training sessions that are considered for each item of a session.
SAMPLE_SIZE = 500
# One training session in this many teaches how to mix, and nothing else.
HELD_OUT = 32
# The width of the steps of a smooth rank, in the log of a chance.
SMOOTHNESS = 0.3
# Chances are not told apart below this, where they could not be in float32.
LEAST_CHANCE = 1e-30
# Products of session and item vectors that are formed at a time.
ENTRIES_AT_ONCE = 2**18


class Found(NamedTuple):
    """What the neighbours of a batch know.

    Attributes:
        neighbours: the neighbours.
        facts: what they are like.
    """

    neighbours: Neighbours
    facts: NeighbourFacts


class NeighbourPart(nn.Module):
    """Chances of new items by set similarity to training sessions, and the weight they get.

    A new item's chance is ``(1 - w) * own + w * (its score / the sum of the scores of all new items)``, where ``own``
    is the model's chance of it among the new items and its score is the sum of the similarities of the neighbours that
    hold it. The weight w of a session, and what makes neighbours similar, are learned on one training session in 32,
    which the rest of the model never sees: on sessions that it knows by heart, the model would seem better than its
    neighbours. What is learned is to bring the targets forward (:meth:`learning_loss`). A training session is never its
    own neighbour.

    Args:
        model: the model, for its field names and the number of items.
        dataset: the training data, or a catalogue to be loaded into.
    """

    def __init__(self, model, dataset):
        super().__init__()
        fields = model.USER_ID, model.ITEM_ID, model.ITEM_SEQ, model.ITEM_SEQ_LEN
        clicks = train_clicks(dataset, *fields)
        items, offsets = torch.from_numpy(clicks.items).long(), torch.from_numpy(clicks.offsets)
        self.index = NeighbourIndex(items, offsets, model.n_items, SAMPLE_SIZE)
        self.mixture = NeighbourMixture()
        numbers = torch.from_numpy(session_numbers(dataset, *fields))
        # Of use in training only, and made from the data each time.
        self.register_buffer("number_of", numbers, persistent=False)

    def own_sessions(self, session_id: Tensor) -> Tensor:
        """The number of the training session that each instance is a part of, or -1, ``[B]`` long."""
        return self.number_of[session_id]

    def held_out(self, session_id: Tensor) -> Tensor:
        """Whether an instance teaches how to mix, and nothing else, ``[B]`` bool."""
        # -1 is none of these.
        own = self.own_sessions(session_id)
        return own % HELD_OUT == HELD_OUT // 4

    def find(self, item_seq: Tensor, item_seq_len: Tensor, own: Tensor | None = None) -> Found:
        """The neighbours of sessions ``[B, L]`` of ``[B]`` clicks; ``own``: as for :meth:`NeighbourIndex.find`."""
        found, n_rows = self.index.find(item_seq, own), len(item_seq)
        mass = self.index.mass(found, item_seq)
        # Sums that should be 0 may differ from it by rounding.
        mass = mass.masked_fill(mass < torch.finfo(mass.dtype).eps, 0.0)
        strongest = mass.new_zeros(n_rows).scatter_reduce_(0, found.row, found.similarity.detach(), "amax")
        count = torch.bincount(found.row, minlength=n_rows).to(mass.dtype)
        return Found(found, NeighbourFacts(mass, strongest, count, item_seq_len.to(mass.dtype)))

    def learning_loss(self, log_own: Tensor, item_seq: Tensor, found: Found, target: Tensor) -> Tensor:
        """The log of the smooth rank of new targets under the mixture: what the weight of the neighbours and their
        similarity learn from. No gradient reaches anything else.

        Likelihood would not do: it gains from neighbours that give a little to every target the model overlooks, even
        where the first places get worse.

        Args:
            log_own: log of the model's own chances among the new items, ``[B, N + 1]``; -inf for other items.
            item_seq: the sessions, ``[B, L]`` long.
            found: their neighbours.
            target: item ids, ``[B]`` long, none in its session.

        Returns:
            ``[B]``.
        """
        facts = NeighbourFacts(*(fact.detach() for fact in found.facts))
        log_weight, log_rest = self.mixture(facts, log_own.amax(1))
        scores = self.index.scores(found.neighbours, len(item_seq))
        scores = scores.scatter(1, nn.functional.pad(item_seq, (0, 1)), 0.0)
        shares = scores / found.facts.mass.clamp(min=torch.finfo(scores.dtype).eps).unsqueeze(1)
        mixed = log_rest.exp().unsqueeze(1) * log_own.exp() + log_weight.exp().unsqueeze(1) * shares
        return smooth_rank(mixed.clamp(min=LEAST_CHANCE).log(), target, SMOOTHNESS).log()

    def mix(self, scores: Tensor, found: Found) -> Tensor:
        """Mix the neighbours into the log chances of new items, in place.

        Args:
            scores: log of the model's own chances among the new items, ``[B, N + 1]``; -inf for other items.
            found: the neighbours.

        Returns:
            ``scores``; those of items that are not new have no meaning.
        """
        log_weight, log_own = self.mixture(found.facts, scores.amax(1))
        row, item, _ = self.index.candidates(found.neighbours)
        shares = self._log_share(self.index.scores(found.neighbours, len(scores))[row, item], found.facts.mass[row])
        scores += log_own.unsqueeze(1)
        # An item of several neighbours is written several times, with the same number.
        scores[row, item] = torch.logaddexp(scores[row, item], log_weight[row] + shares)
        return scores

    def mix_found(
        self, encoded: Encoded, query: Tensor, vectors: Tensor, items: Tensor, scores: Tensor, log_others: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The same for the new items that an index of vectors has found, and for all that the neighbours hold.

        Args:
            encoded: the batch.
            query, vectors: whose products are the model's own scores, ``[B, d]`` and ``[N + 1, d]``.
            items: that were found, ``[B, m]`` long.
            scores: log of the model's own chances of them among the new items, ``[B, m]``; -inf for other items.
            log_others: log of the sum of the exponential products of all new items, ``[B]``.

        Returns:
            New items ``[B, n]`` long, none twice, and log chances ``[B, n]``, -inf where there is none.
        """
        found = self.find(encoded.item_seq, encoded.item_seq_len)
        row, item, share = self._new_items(encoded.item_seq, found)
        own = _products(query, vectors, row, item) - log_others[row]
        best = scores.amax(1).scatter_reduce(0, row, own, "amax")
        log_weight, log_own = self.mixture(found.facts, best)
        mixed = torch.logaddexp(log_own[row] + own, log_weight[row] + share)

        # Both lists in one, a row per session; what was found and is among the neighbours' items counts there.
        key = row * self.index.n_items + item
        line = torch.arange(len(items), device=items.device).unsqueeze(1)
        is_double = torch.isin(line * self.index.n_items + items, key)
        of_found = (log_own.unsqueeze(1) + scores).masked_fill(is_double, -torch.inf)
        counts = torch.bincount(row, minlength=len(items))
        column = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
        more = items.new_zeros(len(items), int(counts.max()))
        of_more = scores.new_full(more.shape, -torch.inf)
        more[row, column], of_more[row, column] = item, mixed
        return torch.cat([items, more], dim=1), torch.cat([of_found, of_more], dim=1)

    def _new_items(self, item_seq: Tensor, found: Found) -> tuple[Tensor, Tensor, Tensor]:
        """The items of each session's neighbours that are not in the session, each once: session, item and log of its
        share in the mass, ``[n]`` each, session by session."""
        row, item, similarity = self.index.candidates(found.neighbours)
        key, place = torch.unique(row * self.index.n_items + item, return_inverse=True)
        score = similarity.new_zeros(len(key)).index_add_(0, place, similarity)
        row, item = key // self.index.n_items, key % self.index.n_items
        is_new = ~(item.unsqueeze(1) == item_seq[row]).any(dim=1)
        row, item, score = row[is_new], item[is_new], score[is_new]
        return row, item, self._log_share(score, found.facts.mass[row])

    @staticmethod
    def _log_share(score: Tensor, mass: Tensor) -> Tensor:
        return (score / mass.clamp(min=torch.finfo(mass.dtype).eps)).log()


def _products(query: Tensor, vectors: Tensor, row: Tensor, item: Tensor) -> Tensor:
    """Products of some sessions' vectors, ``[B, d]``, and some items', ``[N + 1, d]``; ``[n]`` long each -> ``[n]``."""
    pairs = zip(row.split(ENTRIES_AT_ONCE), item.split(ENTRIES_AT_ONCE))
    return torch.cat([(query[rows] * vectors[items]).sum(1) for rows, items in pairs])
