"""Models without training on a few sessions of twelve items, and the scores of one session."""

from __future__ import annotations

import functools

import numpy as np
import torch
from helpers.stock_recbole import make_sessions
from recbole.data.interaction import Interaction

from recbole_tme.config.load import load_config
from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.sessions import PAD_TOKEN, SessionData

NEIGHBOURS = ["SKNN", "SFSKNN", "VSKNN", "STAN", "VSTAN"]
MIXES = ["BaselineMix", "OwnItemsFirst"]
MODELS = ["OwnItems", "SPop", "SPopSTAN", "SR", "LastItemKNN", *NEIGHBOURS, *MIXES]
N_ITEMS = 12
FIXED = {"device": "cpu", "MAX_ITEM_LIST_LENGTH": 12, "show_progress": False}
CPU = torch.device("cpu")


@functools.lru_cache(maxsize=256)
def config_of(model: str, given_settings: tuple = ()):
    return load_config(model, "toy", config_dict=FIXED | dict(given_settings))


def tokens(n_items: int = N_ITEMS) -> np.ndarray:
    return np.array([PAD_TOKEN, *(f"i{i}" for i in range(1, n_items + 1))], dtype=object)


def session_data(train: list[list[int]]) -> SessionData:
    sessions = make_sessions(train, "s")
    return SessionData("toy", train=sessions, test=sessions, tokens=tokens())


def build(model: str, train: list[list[int]], **given_settings):
    config = config_of(model, tuple(given_settings.items()))
    return config.model_class(config, SessionDataset(config, session_data(train)).build()[0]).eval()


def batch_of(sessions: list[list[int]]) -> Interaction:
    padded = torch.zeros(len(sessions), max(map(len, sessions)), dtype=torch.long)
    for row, clicks in zip(padded, sessions):
        row[: len(clicks)] = torch.tensor(clicks)
    return Interaction({"item_id_list": padded, "item_length": torch.tensor([len(clicks) for clicks in sessions])})


def scores_of(model, session: list[int]) -> list[float]:
    """Scores by item id; index 0 is padding's."""
    return model.full_sort_predict(batch_of([session]))[0].tolist()


def order_of(model, session: list[int]) -> list[int]:
    """Item ids, the best first."""
    scores = scores_of(model, session)
    return sorted(range(1, N_ITEMS + 1), key=lambda item: -scores[item])
