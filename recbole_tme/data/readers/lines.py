"""Plain session lines: one session per line, item ids separated by blanks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbole_tme.data.catalogue import NamedSessions, catalogue, number_names
from recbole_tme.data.sessions import Sessions
from recbole_tme.data.textfile import numbered_lines
from recbole_tme.errors import UserError


def read_lines(path: Path) -> NamedSessions:
    """Read a text file of sessions, plain or gzip.

    Sessions have no names of their own and are numbered from 1; empty lines are skipped. There are no times: the
    order of the lines is taken for the order of time.

    Raises:
        UserError: naming the file, and the line where there is one.
    """
    lines = []
    for number, line in numbered_lines(path):
        if b"\x00" in line:
            raise UserError(f"{path} line {number}: not a text file of sessions (a zero byte in it)")
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            raise UserError(f"{path} line {number}: not UTF-8 text; convert the file (iconv -t UTF-8)") from None
        # ASCII blanks only: other Unicode spaces may be part of a name.
        fields = line.split()
        if fields:
            lines.append(b" ".join(fields))
    if not lines:
        raise UserError(f"{path}: the file is empty; one session per line is expected")
    lists = pc.split_pattern(pa.array(lines, pa.string()), " ")
    clicks = lists.flatten().dictionary_encode()
    sessions = Sessions(
        items=clicks.indices.to_numpy() + 1,
        offsets=lists.offsets.to_numpy().astype(np.int64),
        ids=number_names(1, len(lists)),
    )
    return NamedSessions(sessions, catalogue(clicks.dictionary.to_pylist()), unnamed=True)
