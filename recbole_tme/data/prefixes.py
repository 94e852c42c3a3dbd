"""Session instances as three integers each, cut into padded rows when a batch asks for them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_tme.data.names import Names
from recbole_tme.data.sessions import PAD_TOKEN, SessionData, Sessions
from recbole_tme.errors import UserError
from recbole_tme.models.builtin.discovery import takes_any_width
from recbole_tme.models.registry import innermost

PADDINGS = ("auto", "batch", "max")
SESSIONS_AT_ONCE = 2**18


class FieldNames(NamedTuple):
    """Names of the four fields of an interaction."""

    session: str
    item_list: str
    item: str
    length: str

    @classmethod
    def of(cls, config) -> FieldNames:
        """The names a configuration gives, by RecBole's keys."""
        item = config["ITEM_ID_FIELD"]
        return cls(config["USER_ID_FIELD"], item + config["LIST_SUFFIX"], item, config["ITEM_LIST_LENGTH_FIELD"])


class PrefixTable(Interaction):
    """Instances (session, prefix, target) that look like RecBole's Interaction and are padded on demand.

    ``table["item_id"]`` (also the session and length fields) is a tensor over all instances;
    ``table["item_id_list"]`` builds, and then keeps, the padded matrix of all of them; ``table[rows]`` is a real
    ``Interaction`` of those rows: ``session_id``, ``item_id``, ``item_length`` int64 ``[B]`` and ``item_id_list``
    int64 ``[B, L]``, right-padded with 0. Fields cannot be added or removed.

    Args:
        clicks: item ids of all sessions, int32 ``[n_clicks + max_length]``; the tail is zeros, so that a row may be
            read past the last click.
        offsets: int64 ``[n_sessions + 1]``, where each session starts in ``clicks``.
        users: the session field's id of each session, int32 ``[n_sessions]``.
        session: session of each instance, int32 ``[n]``.
        target: position of each target in ``clicks``, int32 ``[n]``.
        prefix_length: clicks of each prefix that a row holds, int32 ``[n]``: the most recent ``max_length`` at most.
        max_length: width of a row where ``padding`` is "max".
        padding: "max", or "batch" for rows as wide as the longest prefix among them.
        names: the field names.
    """

    def __init__(self, clicks, offsets, users, session, target, prefix_length, max_length, padding, names):
        self.clicks = clicks
        self.offsets = offsets
        self.users = users
        self.session = session
        self.target = target
        self.prefix_length = prefix_length
        self.max_length = max_length
        self.padding = padding
        self.names = names
        self._padded: Tensor | None = None

    @classmethod
    def joined(cls, tables: Sequence[PrefixTable]) -> PrefixTable:
        """The instances of several tables, one after the other, over the clicks of all of them."""
        parts = []
        n_clicks = n_sessions = 0
        for table in tables:
            clicks = table.clicks[: len(table.clicks) - table.max_length]
            starts = table.offsets[1 if parts else 0 :] + n_clicks
            session, target = table.session + n_sessions, table.target + n_clicks
            parts.append((clicks, starts, table.users, session, target, table.prefix_length))
            n_clicks, n_sessions = n_clicks + len(clicks), n_sessions + len(table.users)
        first = tables[0]
        clicks, *others = map(torch.cat, zip(*parts))
        clicks = torch.cat([clicks, clicks.new_zeros(first.max_length)])
        return cls(clicks, *others, first.max_length, first.padding, first.names)

    @property
    def interaction(self):
        """Field name -> tensor, as the base class reads it: this object itself, so nothing is built unasked."""
        return self

    @property
    def length(self) -> int:
        """Number of instances (RecBole's name for it)."""
        return len(self.target)

    @property
    def columns(self) -> list[str]:
        """The field names."""
        return list(self.names)

    def __len__(self) -> int:
        return len(self.target)

    def __iter__(self):
        return iter(self.names)

    def __contains__(self, field) -> bool:
        return field in self.names

    def __getitem__(self, index):
        if isinstance(index, str):
            return self._column(index)
        rows = self._rows(index)
        fields = self._gather(rows.view(-1))
        return Interaction(fields if rows.dim() else {name: value[0] for name, value in fields.items()})

    def __setitem__(self, field, value):
        raise TypeError(f"the fields of session instances are fixed ({', '.join(self.names)}); cannot set {field!r}")

    def __delitem__(self, field):
        raise TypeError(f"the fields of session instances are fixed ({', '.join(self.names)}); cannot delete {field!r}")

    def __str__(self) -> str:
        return f"{len(self)} session instances with fields {', '.join(self.names)}, padding {self.padding}"

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_padded": None}

    def with_padding(self, mode: str) -> PrefixTable:
        """The same instances with another width of rows, over the same clicks."""
        part = copy.copy(self)
        part.padding, part._padded = mode, None
        return part

    def chosen(self, rows) -> PrefixTable:
        """The instances of a bool mask or of positions, over the same clicks."""
        part = copy.copy(self)
        part._reindex(rows)
        return part

    def _column(self, field: str) -> Tensor:
        if field == self.names.session:
            return self.users[self.session].long()
        if field == self.names.item:
            return self.clicks[self.target].long()
        if field == self.names.length:
            return self.prefix_length.long()
        if field == self.names.item_list:
            if self._padded is None:
                self._padded = self._pad(self.target, self.prefix_length)
            return self._padded
        raise KeyError(field)

    def _rows(self, index) -> Tensor:
        if isinstance(index, slice):
            return torch.arange(len(self))[index]
        rows = torch.as_tensor(index if isinstance(index, Tensor) else np.asarray(index))
        return rows.nonzero().view(-1) if rows.dtype == torch.bool else rows.long()

    def _gather(self, rows: Tensor) -> dict[str, Tensor]:
        target, length = self.target[rows], self.prefix_length[rows]
        return {
            self.names.session: self.users[self.session[rows]].long(),
            self.names.item_list: self._pad(target, length),
            self.names.item: self.clicks[target].long(),
            self.names.length: length.long(),
        }

    def _pad(self, target: Tensor, length: Tensor) -> Tensor:
        width = int(length.max()) if self.padding == "batch" and len(length) else self.max_length
        step = torch.arange(width, dtype=torch.int32)
        position = (target - length).unsqueeze(1) + step
        items = self.clicks.index_select(0, position.view(-1)).view(position.shape)
        return items.mul_(step < length.unsqueeze(1)).long()

    def _reindex(self, index) -> None:
        rows = self._rows(index)
        self.session, self.target = self.session[rows], self.target[rows]
        self.prefix_length = self.prefix_length[rows]
        self._padded = None


def prefix_tables(config, data: SessionData) -> tuple[list[PrefixTable | None], Names]:
    """The instances of each split in a table of its own, over the clicks of this split alone.

    Sessions of one name in two splits are one session to RecBole (its "user"), so they share an id.

    Returns:
        The tables of the training, validation and test instances, None where the data has no such split; and the
        session names by id, ``[0]`` is padding.

    Raises:
        UserError: a split has no instance, or ``MAX_ITEM_LIST_LENGTH`` or ``padding`` has an impossible value.
        ValueError: an item id is outside ``1..N``, or there are 2^31 clicks or more.
    """
    max_length = config["MAX_ITEM_LIST_LENGTH"]
    if not isinstance(max_length, int) or max_length < 1:
        raise UserError(f"MAX_ITEM_LIST_LENGTH: must be a whole number of at least 1, not {max_length!r}")
    padding, names = resolve_padding(config), FieldNames.of(config)
    splits = {"train": data.train, "valid": data.valid, "test": data.test}
    present = {split: sessions for split, sessions in splits.items() if sessions is not None}
    n_clicks = sum(len(sessions.items) for sessions in present.values())
    if n_clicks >= 2**31:
        raise ValueError(f"{n_clicks} clicks; positions are kept as int32")
    users, session_names = _numbered([sessions.ids for sessions in present.values()])
    tables: dict[str, PrefixTable] = {}
    for (split, sessions), ids in zip(present.items(), users):
        items = sessions.items
        if len(items) and not 1 <= items.min() <= items.max() < len(data.tokens):
            raise ValueError(f"{data.name}: item ids must lie in 1..{len(data.tokens) - 1}")
        # A copy, though the sessions have them already: a view would lead to its neighbours in memory.
        clicks = np.concatenate([items, np.zeros(max_length, np.int32)]).astype(np.int32, copy=False)
        arrays = (clicks, sessions.offsets.copy(), ids, *_instances(data.name, split, sessions, max_length))
        tables[split] = PrefixTable(*map(torch.from_numpy, arrays), max_length, padding, names)
    return [tables.get(split) for split in splits], session_names


def _numbered(splits: Sequence[Names]) -> tuple[list[np.ndarray], Names]:
    """Numbers from 1 for the names of each list, int32, and the names by number, padding first. A name that an earlier
    list has keeps its number; within a list each is a session of its own."""
    numbers: list[np.ndarray] = []
    fresh_names = [Names([PAD_TOKEN])]
    n = 1
    for i, names in enumerate(splits):
        known = np.zeros(len(names), np.int32)
        for earlier, its in zip(splits[:i], numbers):
            # What is looked up in is held in memory several times over, and later lists are the shorter ones.
            place = pc.index_in(earlier.text, value_set=names.text)
            there = place.is_valid().to_numpy(zero_copy_only=False)
            known[place.drop_null().to_numpy()] = its[there]
        fresh = known == 0
        known[fresh] = np.arange(n, n + fresh.sum(), dtype=np.int32)
        numbers.append(known)
        fresh_names.append(names if fresh.all() else names.take(fresh))
        n += int(fresh.sum())
    return numbers, Names.joined(fresh_names)


def resolve_padding(config) -> str:
    """The width mode that key ``padding`` asks for: "batch" or "max".

    "auto" is "batch" for a model class that says ``variable_length = True`` and for those of RecBole's that are known
    to take any width, or have such a backbone; else "max": several of RecBole's models (Caser, NextItNet, BERT4Rec)
    need every batch to be ``MAX_ITEM_LIST_LENGTH`` wide.

    Raises:
        UserError: the key has another value.
    """
    wanted = config["padding"] or "auto"
    if wanted not in PADDINGS:
        raise UserError(f"padding: {wanted!r} is not one of {', '.join(PADDINGS)}")
    if wanted != "auto":
        return wanted
    model_class = getattr(config, "model_class", None)
    if model_class is None:
        return "max"
    narrow = getattr(model_class, "variable_length", False) or takes_any_width(innermost(model_class))
    return "batch" if narrow else "max"


def _instances(data_name: str, split: str, sessions: Sessions, max_length: int) -> list[np.ndarray]:
    """Session, target position and kept prefix length of each instance, int32 ``[n]`` each."""
    if not sessions.n_instances:
        raise UserError(
            f"data set {data_name}: no session of the {split} split has a second click, so there is nothing to predict"
        )
    columns = [np.empty(sessions.n_instances, np.int32) for _ in range(3)]
    done = 0
    # Some at a time: what making them takes for a moment is several times what is kept.
    for start in range(0, len(sessions), SESSIONS_AT_ONCE):
        some = sessions.slice(start, min(start + SESSIONS_AT_ONCE, len(sessions)))
        session, target = some.instances()
        length = np.minimum(target - some.offsets[session], max_length)
        rows = slice(done, done := done + len(session))
        for column, values in zip(columns, (session + start, target + sessions.offsets[start], length)):
            column[rows] = values
    return columns
