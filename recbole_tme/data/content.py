"""What a data set holds, as one number: the same whichever source it was built from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbole_tme.data.sessions import SessionData, Sessions
from recbole_tme.data.textfile import plain_text

_BEGIN, _TARGET, _OTHER = "\n", "\t", "\v"
_BLOCK = 1_000_000


def content_sha256(data: SessionData) -> str:
    """SHA-256 over the sessions of each split in order, click by click, by external item ids.

    Session names, times, titles and the internal numbering do not count. The text that is hashed has for each split
    its name, then each click's id after a mark: end of line before a session's first click, tab before a target,
    vertical tab before a click that is neither.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for split in ("train", "valid", "test"):
        sessions = getattr(data, split)
        if sessions is not None:
            digest.update(split.encode())
            for text in _marked_clicks(sessions, data.tokens):
                digest.update(text)
            digest.update(b"\n")
    return digest.hexdigest()


def _marked_clicks(sessions: Sessions, tokens: np.ndarray) -> Iterator[bytes]:
    mark = np.full(len(sessions.items), 1, dtype=np.int8)
    if sessions.is_target is not None:
        mark[~sessions.is_target] = 2
    mark[sessions.offsets[:-1]] = 0
    marks, names = pa.array([_BEGIN, _TARGET, _OTHER]), pa.array(tokens, pa.string())
    for start in range(0, len(mark), _BLOCK):
        block = slice(start, start + _BLOCK)
        clicks = names.take(pa.array(sessions.items[block]))
        yield plain_text(pc.binary_join_element_wise(marks.take(pa.array(mark[block])), clicks, ""))
