"""What the session data set needs around it, by hand: the keys it reads, and sessions of five items."""

from collections import defaultdict

import numpy as np
from helpers.stock_recbole import make_sessions

from recbole_tme.data.sessions import PAD_TOKEN, SessionData


class PlainConfig(defaultdict):
    """The few keys the data set reads, None for the rest."""

    def __init__(self, **values):
        super().__init__(
            lambda: None,
            {
                "dataset": "tiny",
                "USER_ID_FIELD": "session_id",
                "ITEM_ID_FIELD": "item_id",
                "LIST_SUFFIX": "_list",
                "ITEM_LIST_LENGTH_FIELD": "item_length",
                "MAX_ITEM_LIST_LENGTH": 12,
                "numerical_features": [],
                **values,
            },
        )


def as_data(sessions) -> SessionData:
    tokens = np.array([PAD_TOKEN, *"abcde"], dtype=object)
    return SessionData("tiny", train=make_sessions([[5, 5, 5]], "t"), test=sessions, tokens=tokens)
