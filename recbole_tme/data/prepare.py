"""``recbole-tme prepare``: other people's files into the atomic files of a data set."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

from recbole_tme.data.catalogue import NamedSessions, assemble
from recbole_tme.data.content import content_sha256
from recbole_tme.data.download import extract_zip
from recbole_tme.data.filters import drop_unseen, filter_log
from recbole_tme.data.readers.atomic import write_dataset
from recbole_tme.data.readers.clicklog import LogColumns, read_log
from recbole_tme.data.readers.inter import read_inter, read_titles
from recbole_tme.data.readers.lines import read_lines
from recbole_tme.data.readers.pickles import read_pickle
from recbole_tme.data.sessions import SessionData
from recbole_tme.data.sources import FORMATS, SourceFiles, detect_format, find_files
from recbole_tme.data.split import by_last_click, last_fraction, time_split
from recbole_tme.data.textfile import reading
from recbole_tme.data.times import UNITS
from recbole_tme.errors import UserError

DEFAULT_TEST_RATIO = 0.1


@dataclass(frozen=True)
class PrepareOptions:
    """How to read, filter and split a source. The last group is for one log that is still to be split.

    Attributes:
        train, test, valid: files already split, in place of one source.
        format: one of ``pickles``, ``presplit``, ``lines``, ``clicks``, or ``auto`` to tell by the files.
        items: a RecBole ``.item`` file with titles.
        session, user, session_gap, item, time, time_unit, delimiter: see :class:`LogColumns`.
        file_order: take the order of a log's rows for the order of time; then it needs no time column.
        columns: column names of a log without header line.
        min_support, min_length, max_length: see :func:`filter_log`; 5, 2 and no bound unless given.
        test_ratio, test_days: see :func:`time_split`; 0.1 of the sessions unless given.
        train_fraction: keep only the last share of the training sessions (Yoochoose 1/64: 0.015625).
    """

    train: Path | None = None
    test: Path | None = None
    valid: Path | None = None
    format: str = "auto"
    items: Path | None = None
    session: str | None = None
    user: str | None = None
    session_gap: float | None = None
    item: str = "item_id"
    time: str = "timestamp"
    time_unit: str = "auto"
    file_order: bool = False
    delimiter: str | None = None
    columns: tuple[str, ...] | None = None
    min_support: int | None = None
    min_length: int | None = None
    max_length: int | None = None
    test_ratio: float | None = None
    test_days: float | None = None
    train_fraction: float | None = None

    def __post_init__(self) -> None:
        _require(self.format in ("auto", *FORMATS), f"format={self.format}: one of auto, {', '.join(FORMATS)}")
        _require(self.time_unit in ("auto", *UNITS), f"time_unit={self.time_unit}: one of auto, {', '.join(UNITS)}")
        _require(self.session is None or self.user is None, "give session or user, not both")
        _require((self.user is None) == (self.session_gap is None), "user and session_gap (seconds) go together")
        _require(self.user is None or not self.file_order, "user needs the time of every click, not file_order")
        _require(self.session_gap is None or self.session_gap > 0, "session_gap must be above 0 seconds")
        _require(self.delimiter is None or len(self.delimiter) == 1, "delimiter must be one character")
        _require(self.test_ratio is None or self.test_days is None, "give test_ratio or test_days, not both")
        _require(self.test_days is None or self.test_days > 0, "test_days must be above 0")
        for key, least in (("min_support", 1), ("min_length", 2), ("max_length", 2)):
            value = getattr(self, key)
            _require(value is None or value >= least, f"{key}={value} must be at least {least}")

    @property
    def log_columns(self) -> LogColumns:
        """How a click log is read."""
        return LogColumns(
            session=self.session or "session_id",
            user=self.user,
            session_gap=self.session_gap,
            item=self.item,
            time=None if self.file_order else self.time,
            time_unit=self.time_unit,
            delimiter=self.delimiter,
            names=self.columns,
        )

    @property
    def given(self) -> dict:
        """The options that differ from their defaults, as plain data without paths."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return {key: value for key, value in given.items() if key not in ("train", "test", "valid", "items")}


_LOG_ONLY = ("min_support", "min_length", "max_length", "test_ratio", "test_days", "train_fraction")


def prepare(source: Path | None, name: str, out_root: Path, *, overwrite: bool = False, **options) -> Path:
    """Turn a source into the atomic files of the data set ``name``.

    Args:
        source: a file or zip file, a folder with the files of one data set, or None where ``options`` names
            ``train`` and ``test``.
        name: name of the new data set.
        out_root: folder to put its folder in.
        overwrite: replace a data set of that name.
        options: see :class:`PrepareOptions`.

    Returns:
        The data set's folder.

    Raises:
        UserError: the input is wrong; nothing is written then.
    """
    if not name or name.startswith(".") or any(mark in name for mark in "/\\\t\n\r"):
        raise UserError(f"name {name!r} cannot be a folder's name; use letters, digits, - and _")
    target = Path(out_root) / name
    if target.exists() and not overwrite:
        raise UserError(f"{target} exists already; give another name or --overwrite")
    data, provenance = load_source(source, name, PrepareOptions(**options))
    return write_dataset(out_root, data, provenance, overwrite)


def load_source(source: Path | None, name: str, options: PrepareOptions) -> tuple[SessionData, dict]:
    """Read, filter and split a source without writing anything.

    A source that is already split is taken as it is. One log is filtered (:func:`filter_log`), its sessions are
    split by the time of their last click (:func:`time_split`), and test clicks on items unseen in train, then test
    sessions of fewer than two clicks, are dropped.

    Returns:
        The data set, and where it comes from as plain data.

    Raises:
        UserError: naming the file and the line or the option.
    """
    with _files_of(source, options) as files:
        parts, formats = {}, set()
        for role, path in files.splits.items():
            kind = detect_format(path) if options.format == "auto" else options.format
            formats.add(kind)
            parts[role] = _read(path, kind, options)
        titles = read_titles(files.items) if files.items is not None else {}
        _require(bool(titles) or options.items is None, f"{options.items}: no title column (title:token_seq) in it")
        provenance = {
            "sources": [_fingerprint(path) for path in (*files.splits.values(), files.items) if path is not None],
            "format": "+".join(sorted(formats)),
            "settings": options.given,
        }
    if "log" in parts:
        parts = _filter_and_split(parts["log"], options)
    else:
        given = [key for key in _LOG_ONLY if getattr(options, key) is not None]
        if given:
            raise UserError(f"{given[0]} is for one log to be split; files already split are taken as they are")
    data = assemble(name, parts["train"], parts["test"], parts.get("valid"), titles)
    for split in ("train", "test"):
        if len(getattr(data, split).instances()[0]) == 0:
            raise UserError(f"data set {name}: no {split} session has two clicks, so that nothing can be predicted")
    provenance["content_sha256"] = content_sha256(data)
    return data, provenance


@contextmanager
def _files_of(source: Path | None, options: PrepareOptions) -> Iterator[SourceFiles]:
    with tempfile.TemporaryDirectory() as unpacked:
        if source is None:
            if options.train is None or options.test is None:
                raise UserError("give a source, or the files already split with --train and --test")
            files = SourceFiles(train=Path(options.train), test=Path(options.test))
            if options.valid is not None:
                files = replace(files, valid=Path(options.valid))
        else:
            if options.train is not None or options.test is not None or options.valid is not None:
                raise UserError("give one source, or --train and --test, not both")
            source = Path(source)
            if source.suffix == ".zip" and source.is_file():
                extract_zip(source, Path(unpacked))
                source = Path(unpacked)
            files = find_files(source) if source.is_dir() else SourceFiles(log=source)
        yield files if options.items is None else replace(files, items=Path(options.items))


def _read(path: Path, kind: str, options: PrepareOptions) -> NamedSessions:
    if kind == "pickles":
        return read_pickle(path)
    if kind == "presplit":
        return read_inter(path)
    if kind == "lines":
        return read_lines(path)
    return read_log(path, options.log_columns)


def _filter_and_split(log: NamedSessions, options: PrepareOptions) -> dict[str, NamedSessions]:
    # A filter may take a session's last click, and with it its place in time.
    sessions = by_last_click(
        filter_log(
            log.sessions,
            min_support=options.min_support or 5,
            min_length=options.min_length or 2,
            max_length=options.max_length,
        )
    )
    ratio = DEFAULT_TEST_RATIO if options.test_ratio is None and options.test_days is None else options.test_ratio
    train, test = time_split(sessions, ratio, options.test_days)
    if options.train_fraction is not None:
        train = last_fraction(train, options.train_fraction)
    test = by_last_click(drop_unseen(test, train))
    return {"train": replace(log, sessions=train), "test": replace(log, sessions=test)}


def _fingerprint(path: Path) -> dict:
    digest = hashlib.sha256()
    with reading(path), open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)
