"""Scores of a model's best items by way of an index, for models that multiply a session vector with item vectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from recbole_tme.errors import UserError
from recbole_tme.models.base import Encoded, SessionRecommender
from recbole_tme.serving.bundle import fingerprint
from recbole_tme.serving.index import FILE_NAME, Codes, ItemIndex, encode, kept_codes
from recbole_tme.serving.saved import SavedModel
from recbole_tme.utils import terminal

# The index is tuned for lists of this length ...
TUNED_FOR = 20
# ... of which it is to find this share; the extra half percent is for sessions unlike those it is measured on.
WANTED_RECALL = 0.995
# Longer lists are made without it.
LARGEST_K = 100
# What is tried for the number of candidates, each twice the one before.
FEWEST_CANDIDATES, MOST_CANDIDATES = 256, 8192
SESSIONS = 256
LONGEST_SESSION = 8
# Of a normalised model: the items that enter the sum one by one, and those that stand for the rest.
FOUND_FOR_SUM = 256
SAMPLED_FOR_SUM = 2**14
TOLERANCE = 1e-4

Fields = Mapping[str, Tensor]
MakeFields = Callable[[Sequence[list[int]]], Fields]
ExactNumbers = Callable[[Sequence[list[int]], int], Sequence[np.ndarray]]


class UsedIndex(NamedTuple):
    """What is to be known of an index.

    Attributes:
        candidates: items whose exact scores are computed for each session.
        recall: the share of the exact 20 best items that it found when it was made, on sessions the model made up.
        is_new: made now, and not read from the file beside the weights.
    """

    candidates: int
    recall: float
    is_new: bool

    def __str__(self) -> str:
        return f"index with {self.candidates} candidates per session: recall@20 {self.recall:.4f} against exact"


class IndexedScores:
    """The best items of sessions and their scores, from the few that an index finds.

    Scores are the model's up to rounding. Those of a model whose scores are normalised over the catalogue (DANSeR's)
    contain the logarithm of a sum over all items, which is estimated from the items found and a fixed sample of the
    others; items of the session itself are scored exactly, found or not.

    Args:
        model: in evaluation mode; :func:`vector_model` says which can be indexed.
        saved: what it was made from.
    """

    def __init__(self, model: nn.Module, saved: SavedModel):
        self._model = vector_model(model, saved)
        self._names = model.ITEM_SEQ, model.ITEM_SEQ_LEN
        with torch.no_grad():
            self._vectors = self._model.item_vectors().detach().cpu().float()
        self.n_items = len(self._vectors) - 1
        if not self._vectors.isfinite().all():
            raise UserError(f"{saved.weights_file}: item vectors that are no numbers cannot be indexed; train it again")
        sample = np.random.default_rng(0).permutation(self.n_items)[:SAMPLED_FOR_SUM] + 1
        self._sample = self._vectors[torch.from_numpy(sample)]
        # Column of each item in the sample; the last one is spare.
        self._column = torch.full((self.n_items + 1,), len(sample))
        self._column[torch.from_numpy(sample)] = torch.arange(len(sample))
        self.index: ItemIndex | None = None

    def open(self, saved: SavedModel, fields: MakeFields, exact: ExactNumbers) -> UsedIndex:
        """Read the index that is kept beside the weights, or make it, and use it.

        Args:
            saved: where the weights are, and how often each item was clicked.
            fields: makes the model's inputs of some sessions of item numbers.
            exact: numbers of the best k items of each of some sessions.
        """

        def make() -> Codes:
            with terminal.step(f"making an index of {self.n_items:,} items"):
                return tuned(self, saved.items.clicks, fields, exact)

        if saved.new_items:
            # What is kept beside the weights is the index of the items in them.
            codes, is_new = make(), True
        else:
            weights, file = fingerprint(saved.weights_file)["sha256"], saved.weights_file.with_name(FILE_NAME)
            codes, is_new = kept_codes(file, weights, make)
        self.use(codes)
        return UsedIndex(codes.candidates, codes.recall, is_new)

    def encode(self) -> Codes:
        """The codes of an index over this model's items, not tuned yet."""
        return encode(self._vectors[1:].numpy())

    def use(self, codes: Codes) -> None:
        """Search with these codes from now on."""
        self.index = ItemIndex(self._vectors[1:].numpy(), codes)

    @torch.no_grad()
    def best(self, fields: Fields, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Candidates for the best ``k`` items of each session that is not among them, and all of them that are.

        Args:
            fields: the model's inputs, ``[B, L]`` and ``[B]`` long.
            k: at least.

        Returns:
            Item numbers, counted from 1, int64 ``[B, n]``, and their scores, ``[B, n]``, in no order; -inf where there
            is no item.
        """
        model, (items, lengths) = self._model, (fields[name] for name in self._names)
        encoded = model.encoded(items, lengths)
        queries = model.query_vectors(encoded).cpu().float()
        n = k + items.shape[1]
        if model.normalised:
            n = max(n, FOUND_FOR_SUM)
        found, products = map(torch.from_numpy, self.index.search(queries.numpy(), min(n, self.n_items)))
        log_others = None
        if model.normalised:
            log_others = self._log_others(queries, items.cpu(), found, products).to(items.device)
        found, scores = model.score_found(encoded, found.to(items.device), products.to(items.device), log_others)
        return found.cpu().numpy(), scores.cpu().numpy()

    def _log_others(self, queries: Tensor, session: Tensor, found: Tensor, products: Tensor) -> Tensor:
        """Log of the sum of exponentials over the items that are not in the session, ``[B]``."""
        in_session = (found.unsqueeze(2) == session.unsqueeze(1)).any(dim=2)
        of_found = products.masked_fill(in_session, -torch.inf).logsumexp(dim=1)
        sampled = torch.nn.functional.pad(queries @ self._sample.T, (0, 1))
        # What is summed already or not to be summed; the spare column is neither.
        sampled = sampled.scatter(1, self._column[torch.cat([found, session], dim=1)], -torch.inf)
        sampled[:, -1] = -torch.inf
        of_others = sampled.logsumexp(dim=1) + math.log(self.n_items / len(self._sample))
        return torch.logaddexp(of_found, of_others)


def checked_index(name: str) -> type[IndexedScores]:
    """The kind of index by name.

    Raises:
        UserError: there is no such kind.
    """
    if name != "faiss":
        raise UserError(f"index: must be 'faiss' or None, not {name!r}")
    return IndexedScores


def tuned(search: IndexedScores, clicks: np.ndarray, fields: MakeFields, exact: ExactNumbers) -> Codes:
    """The codes of a new index, with the fewest candidates that find ``WANTED_RECALL`` of the best items.

    It is measured on sessions that the model makes up: they start at items drawn by their clicks, and the next click is
    on any of the items that the model itself thinks best.

    Args:
        search: the model; it is left using the codes.
        clicks: of each item in training, ``[N]``.
        fields, exact: as for :meth:`IndexedScores.open`.
    """
    k, codes = min(TUNED_FOR, search.n_items), search.encode()
    search.use(codes)
    search.index.candidates = 4 * FEWEST_CANDIDATES
    sessions = _made_up_sessions(search, clicks, fields, k)
    best, candidates = exact(sessions, k), FEWEST_CANDIDATES
    while True:
        search.index.candidates = candidates
        found = _best_numbers(search, fields(sessions), k)
        recall = float(np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(found, best)]))
        if recall >= WANTED_RECALL or candidates >= min(MOST_CANDIDATES, search.n_items):
            return replace(codes, candidates=candidates, recall=recall)
        candidates *= 2


def _made_up_sessions(search: IndexedScores, clicks: np.ndarray, fields: MakeFields, k: int) -> list[list[int]]:
    rng = np.random.default_rng(0)
    weight = clicks + 1
    sessions = [[int(item) + 1] for item in rng.choice(search.n_items, SESSIONS, p=weight / weight.sum())]
    lengths = rng.integers(1, LONGEST_SESSION + 1, SESSIONS)
    for length in range(2, LONGEST_SESSION + 1):
        best = _best_numbers(search, fields(sessions), k)
        for session, row, wanted in zip(sessions, best, lengths):
            if length <= wanted:
                session.append(int(rng.choice(row)))
    return sessions


def _best_numbers(search: IndexedScores, fields: Fields, k: int) -> list[np.ndarray]:
    """Numbers of the best k items of each session."""
    items, scores = search.best(fields, k)
    return [row[best_first(row, of_row, k)] for row, of_row in zip(items, scores)]


def best_first(items: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
    """Places of the best k entries that are items: by score, then by number."""
    order = np.lexsort((items, -scores))[:k]
    return order[scores[order] > -np.inf]


class _Stock:
    """RecBole's models, and others, whose scores are the products of ``forward`` and ``item_embedding``."""

    normalised = False

    def __init__(self, model: nn.Module):
        self._model = model

    def encoded(self, item_seq: Tensor, item_seq_len: Tensor) -> Encoded:
        return Encoded(self._model.forward(item_seq, item_seq_len), item_seq, item_seq_len)

    def query_vectors(self, encoded: Encoded) -> Tensor:
        return encoded.session

    def item_vectors(self) -> Tensor:
        return self._model.item_embedding.weight[: self._model.n_items]

    def score_found(self, encoded: Encoded, items: Tensor, products: Tensor, log_others) -> tuple[Tensor, Tensor]:
        return items, products


def vector_model(model: nn.Module, saved: SavedModel):
    """The model by the names that :class:`~recbole_tme.models.base.SessionRecommender` has for its parts.

    Raises:
        UserError: its scores are not made from a vector per session and one per item.
    """
    parts = model if isinstance(model, SessionRecommender) else _Stock(model)
    if not _multiplies(model, parts, saved):
        raise UserError(
            f"--index=faiss does not fit {saved.name}, whose scores are no products of a session and an item vector; "
            f"leave it out"
        )
    return parts


@torch.no_grad()
def _multiplies(model: nn.Module, parts, saved: SavedModel) -> bool:
    """Whether the parts make the model's scores, tried on some sessions."""
    if parts.normalised:
        # Such a model is of our own, with tests of its own.
        return True
    most = saved.settings["MAX_ITEM_LIST_LENGTH"]
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([1, min(2, most), most])
    items = torch.randint(1, model.n_items, (3, most), generator=generator) * (torch.arange(most) < lengths[:, None])
    fields = {model.ITEM_SEQ: items, model.ITEM_SEQ_LEN: lengths, model.USER_ID: torch.zeros_like(lengths)}
    device = next(model.parameters()).device
    fields = {name: value.to(device) for name, value in fields.items()}
    wanted = model.full_sort_predict(fields).view(3, -1)
    try:
        encoded = parts.encoded(fields[model.ITEM_SEQ], fields[model.ITEM_SEQ_LEN])
        products = parts.query_vectors(encoded) @ parts.item_vectors().T
    except (AttributeError, TypeError, RuntimeError):
        # No item_embedding, another forward, other shapes.
        return False
    if products.shape != wanted.shape:
        return False
    return torch.allclose(products[:, 1:], wanted[:, 1:], rtol=0, atol=TOLERANCE * float(wanted.abs().max()))
