"""Session instances as three integers each, cut into padded rows when a batch asks for them."""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
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

    def narrow(self, start: int, stop: int) -> PrefixTable:
        """Instances ``start`` (inclusive) to ``stop`` (exclusive), as views of the same memory."""
        part = copy.copy(self)
        part.session = self.session[start:stop]
        part.target = self.target[start:stop]
        part.prefix_length = self.prefix_length[start:stop]
        return part

    def chosen(self, rows) -> PrefixTable:
        """The instances of a bool mask or of positions, over the same clicks."""
        part = copy.copy(self)
        part._reindex(rows)
        return part

    def alone(self, start: int, stop: int) -> PrefixTable:
        """As :meth:`narrow`, with the clicks of these instances' sessions and no others.

        The clicks are a copy: a view would still lead to its neighbours in memory. What was numbered by session or
        click starts from 0.
        """
        part = self.narrow(start, stop)
        first, last = int(part.session.min()), int(part.session.max())
        offsets = self.offsets[first : last + 2]
        lo, hi = int(offsets[0]), int(offsets[-1])
        part.clicks = torch.cat([self.clicks[lo:hi], self.clicks.new_zeros(self.max_length)])
        part.offsets = offsets - lo
        part.users = self.users[first : last + 1].clone()
        part.session = part.session - first
        part.target = part.target - lo
        part.prefix_length = part.prefix_length.clone()
        part._padded = None
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


def prefix_table(config, data: SessionData) -> tuple[PrefixTable, Names, list[tuple[int, int] | None]]:
    """The instances of all splits in one table.

    Sessions of one name in two splits are one session to RecBole (its "user"), so they share an id.

    Returns:
        The table, the session names by id (``[0]`` is padding), and the rows ``(start, stop)`` of the training,
        validation and test instances, None where the data has no such split.

    Raises:
        UserError: a split has no instance, or ``MAX_ITEM_LIST_LENGTH`` or ``padding`` has an impossible value.
        ValueError: an item id is outside ``1..N``, or there are 2^31 clicks or more.
    """
    max_length = config["MAX_ITEM_LIST_LENGTH"]
    if not isinstance(max_length, int) or max_length < 1:
        raise UserError(f"MAX_ITEM_LIST_LENGTH: must be a whole number of at least 1, not {max_length!r}")
    splits = {"train": data.train, "valid": data.valid, "test": data.test}
    present = {name: sessions for name, sessions in splits.items() if sessions is not None}

    clicks = np.concatenate([sessions.items for sessions in present.values()] + [np.zeros(max_length, np.int32)])
    n_clicks = len(clicks) - max_length
    if n_clicks >= 2**31:
        raise ValueError(f"{n_clicks} clicks; positions are kept as int32")
    if n_clicks and not 1 <= clicks[:n_clicks].min() <= clicks.max() < len(data.tokens):
        raise ValueError(f"{data.name}: item ids must lie in 1..{len(data.tokens) - 1}")
    coded = Names.joined(sessions.ids for sessions in present.values()).text.dictionary_encode()

    offsets, parts = [np.zeros(1, np.int64)], []
    rows: list[tuple[int, int] | None] = []
    n_sessions = n_instances = 0
    for name, sessions in splits.items():
        if sessions is None:
            rows.append(None)
            continue
        session, target, length = _instances(data.name, name, sessions, max_length)
        base = offsets[-1][-1]
        parts.append([session + np.int32(n_sessions), target + np.int32(base), length])
        offsets.append(sessions.offsets[1:] + base)
        rows.append((n_instances, n_instances + len(session)))
        n_sessions, n_instances = n_sessions + len(sessions), n_instances + len(session)
    columns = [torch.from_numpy(np.concatenate(column)) for column in zip(*parts)]
    table = PrefixTable(
        torch.from_numpy(clicks.astype(np.int32, copy=False)),
        torch.from_numpy(np.concatenate(offsets)),
        torch.from_numpy(coded.indices.to_numpy() + np.int32(1)),
        *columns,
        max_length=max_length,
        padding=resolve_padding(config),
        names=FieldNames.of(config),
    )
    return table, Names.joined([Names([PAD_TOKEN]), Names(coded.dictionary)]), rows


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
    parts = []
    # Some at a time: what making them takes for a moment is several times what is kept.
    for start in range(0, len(sessions), SESSIONS_AT_ONCE):
        some = sessions.slice(start, min(start + SESSIONS_AT_ONCE, len(sessions)))
        session, target = some.instances()
        length = np.minimum(target - some.offsets[session], max_length)
        columns = (session + start, target + sessions.offsets[start], length)
        parts.append([column.astype(np.int32) for column in columns])
    return [np.concatenate(column) for column in zip(*parts)]
