"""The field's pickled splits: ``all_train_seq.txt`` and ``test.txt``, lists of numbers or names."""

from __future__ import annotations

import reprlib
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from recbole_tme.data.catalogue import NamedSessions, catalogue
from recbole_tme.data.compressed import most_bytes
from recbole_tme.data.names import Names
from recbole_tme.data.ragged import to_offsets
from recbole_tme.data.readers.plain_pickle import load_plain
from recbole_tme.data.readers.presplit import fold
from recbole_tme.data.sessions import Sessions
from recbole_tme.errors import UserError


def read_pickle(path: Path) -> NamedSessions:
    """Read a pickled list of sessions, or a pickled pair (prefixes, targets) folded back into sessions.

    Item ids are integers or strings. Sessions have no names of their own and are numbered from 1.

    Raises:
        UserError: naming the file, and the position where there is one.
    """
    content = load_plain(path)
    if not isinstance(content, list | tuple) or not content:
        raise UserError(f"{path}: a list of sessions or a pair (prefixes, targets) is expected")
    is_pair = (
        len(content) == 2
        and all(isinstance(part, list | tuple) for part in content)
        and (isinstance(content, tuple) or _holds_lists(content[0]))
    )
    if is_pair:
        prefixes, targets = content
        if len(prefixes) != len(targets):
            raise UserError(f"{path}: {len(prefixes)} prefixes but {len(targets)} targets; fetch the file again")
        if not targets:
            raise UserError(f"{path}: no instances in it")
        items, offsets = _flatten(path, prefixes)
        codes, tokens = _encode(path, [*items, *targets])
        sessions, _ = fold(codes[: len(items)], offsets, codes[len(items) :])
    else:
        items, offsets = _flatten(path, content)
        codes, tokens = _encode(path, items)
        sessions = Sessions(items=codes, offsets=offsets, ids=Names.numbered(1, len(content)))
    return NamedSessions(sessions, tokens, unnamed=True)


def _holds_lists(content: Any) -> bool:
    return bool(content) and isinstance(content[0], list | tuple)


def _flatten(path: Path, rows: Any) -> tuple[list, np.ndarray]:
    for k, row in enumerate(rows):
        if not isinstance(row, list | tuple) or not row:
            raise UserError(f"{path}: entry {k + 1} is {reprlib.repr(row)}, a list of item ids is expected")
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    # A list that is written once may stand in a million places.
    if lengths.sum() > most_bytes(path.stat().st_size):
        raise UserError(f"{path}: {lengths.sum():,} clicks in so small a file are no log; write it as text if they are")
    return list(chain.from_iterable(rows)), to_offsets(lengths)


def _encode(path: Path, items: list) -> tuple[np.ndarray, np.ndarray]:
    kinds = set(map(type, items))
    if kinds == {int}:
        try:
            names = pa.array(items, pa.int64()).dictionary_encode()
        except OverflowError:
            raise UserError(f"{path}: an item id is beyond 64 bits; write it as a string") from None
    elif kinds == {str}:
        names = pa.array(items, pa.string()).dictionary_encode()
        if "" in set(names.dictionary.to_pylist()):
            raise UserError(f"{path}: an empty item id; give it a name")
    else:
        shown = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise UserError(f"{path}: item ids must be all integers or all strings, not {shown}")
    return names.indices.to_numpy() + 1, catalogue(names.dictionary.cast(pa.string()).to_pylist())
