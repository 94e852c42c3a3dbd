"""Data sets on disk: RecBole's atomic files with one click per row.

A data set ``name`` is a folder ``name`` with ``name.train.inter``, ``name.test.inter``, where it has one
``name.valid.inter``, where items have titles or other columns ``name.item``, and ``name.json`` that says where it
comes from.
An ``.inter`` file is tab-separated, without quoting, in UTF-8::

    session_id:token  item_id:token  [timestamp:float]  [is_target:float]

with the clicks of a session in consecutive rows and in order, and the sessions in ascending time of their last
click. ``is_target`` (0 or 1) is there only where not every click but a session's first is a target. RecBole's own
prefix rows (:mod:`recbole_tme.data.readers.presplit`) are read as well.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbole_tme.data.catalogue import assemble
from recbole_tme.data.ragged import concatenate
from recbole_tme.data.readers.inter import read_inter, read_item_file
from recbole_tme.data.sessions import SessionData, Sessions
from recbole_tme.data.textfile import plain_text
from recbole_tme.errors import UserError
from recbole_tme.utils.files import alone_for, partial_path, put_in_place, write_json
from recbole_tme.utils.hardware import return_freed_memory
from recbole_tme.utils.spelling import first_repeated

FORMAT_VERSION = 1
# From so many on, what their parser took goes back to the system.
MANY_CLICKS = 1_000_000


def read_dataset(folder: Path, name: str) -> SessionData:
    """Read a data set's atomic files.

    Items are numbered in order of their first click over train, valid and test.

    Args:
        folder: the data set's own folder.
        name: its name, which its files begin with.

    Raises:
        UserError: naming the file, and the line where there is one.
    """
    folder = Path(folder)
    train_file = folder / f"{name}.train.inter"
    if not train_file.exists() and (folder / f"{name}.inter").exists():
        raise UserError(
            f"{folder / name}.inter is not split: run recbole-tme prepare {folder / name}.inter --name NEW_NAME, "
            "then use NEW_NAME"
        )
    test_file = folder / f"{name}.test.inter"
    for file in (train_file, test_file):
        if not file.exists() and not (file == test_file and _without_test(folder, name)):
            raise UserError(
                f"{file}: no such file; a data set has {name}.train.inter and {name}.test.inter "
                "(recbole-tme prepare writes them)"
            )
    return _read(folder, name, test_file)


def read_everything(folder: Path, name: str) -> SessionData:
    """All of a data set as training sessions, with the clicks of the test that were dropped for their items.

    Items are numbered as in :func:`read_dataset`; those that only the test's time knows come last.

    Returns:
        The data set with one split: its test sessions are none.

    Raises:
        UserError: as :func:`read_dataset`.
    """
    folder = Path(folder)
    whole = folder / f"{name}.whole_test.inter"
    data = _read(folder, name, whole) if whole.exists() else read_dataset(folder, name)
    splits = [sessions for sessions in (data.train, data.valid, data.test) if sessions is not None]
    train = concatenate(splits)
    return replace(data, train=train, valid=None, test=train.slice(len(train), len(train)))


def _read(folder: Path, name: str, test_file: Path) -> SessionData:
    train = read_inter(folder / f"{name}.train.inter")
    none = replace(train, sessions=train.sessions.slice(0, 0))
    test = read_inter(test_file) if test_file.exists() else none
    valid_file = folder / f"{name}.valid.inter"
    valid = read_inter(valid_file) if valid_file.exists() else None
    item_file = folder / f"{name}.item"
    content = read_item_file(item_file) if item_file.exists() else None
    # Of a small data set it would take longer than reading it.
    if len(train.sessions.items) >= MANY_CLICKS:
        return_freed_memory()
    return assemble(name, train, test, valid, content)


def _without_test(folder: Path, name: str) -> bool:
    """Whether a data set was made without test sessions (``test_ratio=0``)."""
    try:
        record = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        return record["counts"]["test"]["sessions"] == 0
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_dataset(root: Path, data: SessionData, provenance: dict, overwrite: bool = False) -> Path:
    """Write a data set's folder whole or not at all.

    Args:
        root: folder the data set's own folder is put in.
        data: the data set; item ids without a click are not written.
        provenance: plain data for ``<name>.json``; the format version and the counts are added.
        overwrite: replace a folder of that name.

    Returns:
        The data set's folder, ``root / data.name``.

    Raises:
        UserError: the folder exists and ``overwrite`` is off, an id cannot be written (empty, or with a tab or the
            end of a line in it), or the place cannot be written to.
    """
    root = Path(root)
    target = root / data.name
    if target.exists() and not overwrite:
        raise UserError(f"{target} exists already; give another name or --overwrite")
    partial = partial_path(target)
    try:
        # Of two processes that write one data set the second waits, and then finds it there.
        with alone_for(target, wait=True):
            if target.exists() and not overwrite:
                raise UserError(f"{target} exists already; give another name or --overwrite")
            partial.mkdir(parents=True)
            _write_files(partial, data, provenance)
            put_in_place(partial, target)
    except OSError as error:
        raise UserError(f"{target} cannot be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _write_files(folder: Path, data: SessionData, provenance: dict) -> None:
    counts = {"items": len(data.tokens) - 1}
    for split in ("train", "valid", "test"):
        sessions = getattr(data, split)
        if sessions is not None:
            if len(sessions):
                _write_inter(folder / f"{data.name}.{split}.inter", sessions, data.tokens)
            counts[split] = {
                "sessions": len(sessions),
                "clicks": len(sessions.items),
                "instances": sessions.n_instances,
            }
    if data.whole_test is not None:
        whole = data.whole_test
        _write_inter(folder / f"{data.name}.whole_test.inter", whole.sessions, whole.tokens)
    if data.titles or data.item_columns:
        _write_items(folder / f"{data.name}.item", data)
    record = {"format_version": FORMAT_VERSION, "name": data.name, "counts": counts, **provenance}
    write_json(folder / f"{data.name}.json", record)


def _write_inter(path: Path, sessions: Sessions, tokens: np.ndarray, block: int = 1_000_000) -> None:
    names, items = sessions.ids.text, pa.array(tokens, pa.string())
    if sessions.ids.has_equal():
        raise UserError(f"{path.name}: two sessions have the same id; give each session its own")
    header = "session_id:token\titem_id:token"
    header += "\ttimestamp:float" if sessions.times is not None else ""
    header += "\tis_target:float" if sessions.is_target is not None else ""
    _check_names(path, names)
    _check_names(path, items.slice(1))
    with open(path, "wb") as file:
        file.write(header.encode() + b"\n")
        for start in range(0, len(sessions.items), block):
            part = slice(start, start + block)
            owner = (
                np.searchsorted(sessions.offsets, np.arange(start, min(part.stop, len(sessions.items))), "right") - 1
            )
            columns = [names.take(pa.array(owner)).cast(pa.string()), items.take(pa.array(sessions.items[part]))]
            if sessions.times is not None:
                columns.append(pa.array(sessions.times[part], pa.float64()))
            if sessions.is_target is not None:
                columns.append(pa.array(sessions.is_target[part].astype(np.int8)))
            _write_rows(file, columns)


def _write_items(path: Path, data: SessionData) -> None:
    known = {"title:token_seq": data.titles} if data.titles else {}
    known |= {f"{name}:{column.kind}": column.values for name, column in data.item_columns.items()}
    names = ["item_id", *(field.rpartition(":")[0] for field in known)]
    twice = first_repeated(names)
    if twice is not None:
        raise UserError(f"{path.name}: a second column {twice!r}; leave it out of the item columns, or rename it")
    _check_names(path, pa.array(names))
    items = list(dict.fromkeys(item for values in known.values() for item in values))
    columns = [pa.array(items, pa.string())]
    _check_names(path, columns[0])
    for values in known.values():
        column = pa.array([values.get(item, "") for item in items], pa.string())
        _check_names(path, column, may_be_empty=True)
        columns.append(column)
    with open(path, "wb") as file:
        file.write("\t".join(["item_id:token", *known]).encode() + b"\n")
        for batch in pa.table(columns, [str(k) for k in range(len(columns))]).to_batches():
            _write_rows(file, batch.columns)


def _write_rows(file: BinaryIO, columns: list[pa.Array]) -> None:
    lines = pc.binary_join_element_wise(*(column.cast(pa.string()) for column in columns), "\t")
    file.write(plain_text(pc.binary_join_element_wise(lines, "\n", "")))


def _check_names(path: Path, names: pa.Array, may_be_empty: bool = False) -> None:
    bad = pc.match_substring_regex(names, "[\t\r\n]" if may_be_empty else "[\t\r\n]|^$")
    if pc.any(bad).as_py():
        raise UserError(
            f"{path.name}: id {names.filter(bad)[0].as_py()!r} cannot be written; "
            "ids must not be empty and hold no tab and no end of a line"
        )
