"""What our models are derived from: RecBole's base class, or in a process without RecBole a stand-in that predicts.

Training needs RecBole. A trained model does not, so that a bundle of one of ours can be served without it.
"""

from __future__ import annotations

from enum import Enum

from torch import nn

try:
    from recbole.data.interaction import Interaction
    from recbole.model.abstract_recommender import SequentialRecommender
    from recbole.utils import InputType
except ModuleNotFoundError as error:
    # An installed but broken RecBole must not be ignored.
    if error.name != "recbole":
        raise

    Interaction = dict

    class InputType(Enum):
        """RecBole's names for the kinds of training input."""

        POINTWISE = 1
        PAIRWISE = 2
        LISTWISE = 3

    class SequentialRecommender(nn.Module):
        """The attributes that RecBole's class of this name sets.

        Args:
            config: settings by RecBole's keys.
            dataset: an object whose ``num(item field)`` is the number of items, padding included.
        """

        def __init__(self, config, dataset):
            super().__init__()
            self.USER_ID = config["USER_ID_FIELD"]
            self.ITEM_ID = config["ITEM_ID_FIELD"]
            self.ITEM_SEQ = self.ITEM_ID + config["LIST_SUFFIX"]
            self.ITEM_SEQ_LEN = config["ITEM_LIST_LENGTH_FIELD"]
            self.POS_ITEM_ID = self.ITEM_ID
            self.NEG_ITEM_ID = config["NEG_PREFIX"] + self.ITEM_ID
            self.max_seq_length = config["MAX_ITEM_LIST_LENGTH"]
            self.n_items = dataset.num(self.ITEM_ID)
            self.device = config["device"]

        def load_other_parameter(self, parameters) -> None:
            """Our models keep all they have in their state."""


__all__ = ["InputType", "Interaction", "SequentialRecommender"]
