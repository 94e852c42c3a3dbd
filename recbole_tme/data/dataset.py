"""RecBole's sequential data set over clicks that are kept once.

RecBole holds one padded row per prefix and field. Here an instance is three integers (its session, the position
of its target among the clicks, the length of its prefix), and padded rows exist for the batch that asks for them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from recbole.data.dataset import SequentialDataset
from recbole.utils import FeatureSource, FeatureType

from recbole_tme.data.item_features import item_features
from recbole_tme.data.names import Names
from recbole_tme.data.prefixes import FieldNames, PrefixTable, prefix_tables
from recbole_tme.data.sessions import SessionData


class SessionDataset(SequentialDataset):
    """RecBole's ``SequentialDataset`` over :class:`SessionData`, for any of RecBole's sequential models.

    Of a prefix the most recent ``MAX_ITEM_LIST_LENGTH`` clicks are kept. Before :meth:`build` it stands for the
    instances of all splits; :meth:`build` gives one data set per split that holds this split's clicks alone, so that a
    model, which is given the training one, cannot look into the test sessions.

    Args:
        config: a RecBole ``Config``, or an object whose ``config[key]`` is None for an unknown key.
        data: the sessions of each split.

    Raises:
        UserError: a split has no instance, ``MAX_ITEM_LIST_LENGTH`` or ``padding`` has an impossible value, or as
            :func:`~recbole_tme.data.item_features.item_features`.
    """

    def __init__(self, config, data: SessionData):
        self.item_tokens = data.tokens
        self.item_features = None
        if config["item_content"] or config["item_vectors"]:
            self.item_features = item_features(
                data,
                config["item_content"],
                config["item_vectors"],
                config["content_size"],
                config["item_encoder"],
            )
        self.splits, self.session_names = prefix_tables(config, data)
        self._inter_feat: PrefixTable | None = None
        super().__init__(config)

    def _from_scratch(self) -> None:
        # RecBole's hook for reading and filtering files; the sessions are read already.
        self._get_preset()
        self._get_field_from_config()
        names = FieldNames.of(self.config)
        for field, kind, source, width in (
            (names.session, FeatureType.TOKEN, FeatureSource.USER_ID, 1),
            (names.item_list, FeatureType.TOKEN_SEQ, FeatureSource.INTERACTION, self.max_item_list_len),
            (names.item, FeatureType.TOKEN, FeatureSource.ITEM_ID, 1),
            (names.length, FeatureType.TOKEN, FeatureSource.INTERACTION, 1),
        ):
            self.set_field_property(field, kind, source, width)
        self.field2id_token: dict[str, np.ndarray | Names] = {
            names.session: self.session_names,
            names.item: self.item_tokens,
            names.item_list: self.item_tokens,
        }
        self.field2token_id = TokenIds(self.field2id_token)
        self.item_id_list_field = names.item_list
        setattr(self, f"{names.item}_list_field", names.item_list)
        self.user_feat = self.item_feat = None
        self.feat_name_list = ["inter_feat"]

    def _benchmark_presets(self) -> None:
        """Nothing to do: prefixes and their lengths are known whichever files the sessions came from."""

    def _change_feat_format(self) -> None:
        """Nothing to do: the instances are tensors already."""

    @property
    def inter_feat(self) -> PrefixTable:
        """The instances (RecBole's name for them); those of all splits, before :meth:`build`, are put together when
        they are first asked for."""
        if self._inter_feat is None:
            self._inter_feat = PrefixTable.joined([table for table in self.splits if table is not None])
        return self._inter_feat

    @inter_feat.setter
    def inter_feat(self, table: PrefixTable) -> None:
        self._inter_feat = table

    @property
    def padding(self) -> str:
        """Width of a batch's ``item_id_list``: "batch" (its longest prefix) or "max" (``MAX_ITEM_LIST_LENGTH``).

        May be set, before or after :meth:`build`; data sets that were built already keep theirs.
        """
        table = self.splits[0] if self._inter_feat is None else self._inter_feat
        assert table is not None
        return table.padding

    @padding.setter
    def padding(self, mode: str) -> None:
        # Copies, because shallow copies of this data set share the tables.
        self.splits = [None if table is None else table.with_padding(mode) for table in self.splits]
        if self._inter_feat is not None:
            self._inter_feat = self._inter_feat.with_padding(mode)

    @property
    def avg_actions_of_users(self) -> float:
        """Mean number of instances per session that has any."""
        return self._mean_count(self.uid_field)

    @property
    def avg_actions_of_items(self) -> float:
        """Mean number of instances per item that is a target."""
        return self._mean_count(self.iid_field)

    def _mean_count(self, field: str) -> float:
        return self.inter_num / max(1, int(torch.bincount(self.inter_feat[field]).count_nonzero()))

    def build(self) -> list[SessionDataset | None]:
        """``[train, valid, test]``, each with its own clicks alone; None in the place of a split that is not there.

        Names and numbers of items and sessions are those of all splits.
        """
        return [None if table is None else self._of(table) for table in self.splits]

    def _of(self, table: PrefixTable) -> SessionDataset:
        part = self.copy(table)
        # Whoever has this one must not find the others by it.
        part.splits = []
        return part

    def instance_arrays(self) -> dict[str, np.ndarray]:
        """What slices of an evaluation need to know of each instance, in the order of this data set.

        Returns:
            ``target`` (item id) and ``session`` (counted from the first session of this data set with an instance),
            int32; ``length``, int32, clicks before the target, however many of them a row shows the model;
            ``is_repeat``, bool, whether the target is among those clicks; ``is_last_click``, bool, whether it is
            the last target of its session. All ``[n]``.
        """
        table = self.inter_feat
        session, target = table.session.numpy(), table.target.numpy()
        offsets, clicks = table.offsets.numpy(), table.clicks.numpy()
        first, last = (session.min(), session.max()) if len(session) else (0, -1)
        start, stop = offsets[first], offsets[last + 1]
        lengths = np.diff(offsets[first : last + 2])
        seen = _occurred_before(np.repeat(np.arange(len(lengths)), lengths), clicks[start:stop])
        last_target = np.full(len(lengths), -1, dtype=np.int64)
        np.maximum.at(last_target, session - first, target)
        return {
            "target": clicks[target],
            "session": (session - first).astype(np.int32),
            "length": (target - offsets[session]).astype(np.int32),
            "is_repeat": seen[target - start],
            "is_last_click": last_target[session - first] == target,
        }


class TokenIds(dict):
    """Field -> {token: id}, each made when it is first asked for: training never looks a name up.

    Args:
        tokens: field -> its tokens by id.
    """

    def __init__(self, tokens: Mapping[str, np.ndarray | Names]):
        super().__init__()
        self.tokens = tokens

    def __missing__(self, field: str) -> dict[str, int]:
        tokens = self.tokens[field].tolist()
        self[field] = dict(zip(tokens, range(len(tokens))))
        return self[field]


def _occurred_before(session: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Whether each click's item was clicked earlier in its session, bool ``[n_clicks]``."""
    seen = np.zeros(len(items), dtype=bool)
    order = np.lexsort((items, session))
    same = (session[order[1:]] == session[order[:-1]]) & (items[order[1:]] == items[order[:-1]])
    seen[order[1:][same]] = True
    return seen
