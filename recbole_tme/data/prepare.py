"""``recbole-tme prepare``: other people's files into the atomic files of a data set."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from recbole_tme.data.catalogue import NamedSessions, assemble
from recbole_tme.data.checks import look_over
from recbole_tme.data.content import content_sha256
from recbole_tme.data.download import extract_zip
from recbole_tme.data.filters import drop_unseen, filter_log
from recbole_tme.data.items import ItemTable
from recbole_tme.data.ragged import occurring
from recbole_tme.data.readers.atomic import write_dataset
from recbole_tme.data.readers.clicklog import read_log
from recbole_tme.data.readers.columns import LogColumns, one_of, require
from recbole_tme.data.readers.inter import read_inter
from recbole_tme.data.readers.items import ALL, read_items
from recbole_tme.data.readers.lines import FIRST_FIELDS, read_lines
from recbole_tme.data.readers.pickles import read_pickle
from recbole_tme.data.record import Record
from recbole_tme.data.sessions import SessionData
from recbole_tme.data.sources import FORMATS, SourceFiles, detect_format, find_files, holds_prefixes
from recbole_tme.data.split import by_last_click, last_fraction, time_split
from recbole_tme.data.textfile import reading
from recbole_tme.errors import UserError
from recbole_tme.utils import terminal
from recbole_tme.utils.files import file_sha256

DEFAULT_TEST_RATIO = 0.1


@dataclass(frozen=True)
class PrepareOptions(LogColumns):
    """How to read, filter and split a source. The last group is for one log that is still to be split.

    Attributes:
        train, test, valid: files already split, in place of one source.
        format: one of ``pickles``, ``presplit``, ``lines``, ``clicks``, or ``auto`` to tell by the files. An option
            that only click logs know implies ``clicks``.
        items: a table with the items' titles and other columns: a RecBole ``.item`` file, or a table of any form a log
            may have. ``title`` and ``item_columns`` are then columns of this table, not of the log, and
            ``item_columns`` may be ``all``.
        items_id: the column of item ids in that table, where it is called otherwise than in the log.
        first_field: what comes first in a line of sessions, see :func:`read_lines`.
        min_support, min_length, max_length: see :func:`filter_log`; 5, 2 and no bound unless given.
        test_ratio, test_days: see :func:`time_split`; 0.1 of the sessions unless given. A ratio of 0 leaves the test
            set empty, to train on everything.
        train_fraction: keep only the last share of the training sessions (Yoochoose 1/64: 0.015625).

    Raises:
        UserError: options that contradict one another.
    """

    train: Path | None = None
    test: Path | None = None
    valid: Path | None = None
    format: str = "auto"
    items: Path | None = None
    items_id: str | None = None
    first_field: str | None = None
    min_support: int | None = None
    min_length: int | None = None
    max_length: int | None = None
    test_ratio: float | None = None
    test_days: float | None = None
    train_fraction: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(self, "format", ("auto", *FORMATS))
        one_of(self, "first_field", (None, *FIRST_FIELDS))
        require(self.items_id is None or self.items is not None, "items_id is a column of the table items; give both")
        require(self.test_ratio is None or self.test_days is None, "give test_ratio or test_days, not both")
        require(self.test_days is None or self.test_days > 0, "test_days must be above 0")
        for key, least in (("min_support", 1), ("min_length", 2), ("max_length", 2)):
            value = getattr(self, key)
            require(value is None or value >= least, f"{key}={value} must be at least {least}")

    @property
    def log_columns(self) -> LogColumns:
        """How a click log is read."""
        return self if self.items is None else replace(self, title=None, item_columns=())

    @property
    def is_log(self) -> bool:
        """Whether an option is given that only click logs know."""
        known = {f.name for f in fields(LogColumns)}
        # A table of items has columns, too.
        known -= {"title", "item_columns"} if self.items is not None else set()
        return self.format == "clicks" or not known.isdisjoint(self.given)

    @property
    def given(self) -> dict:
        """The options that differ from their defaults, as plain data without paths."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return {key: value for key, value in given.items() if key not in ("train", "test", "valid", "items")}


_LOG_ONLY = ("min_support", "min_length", "max_length", "test_ratio", "test_days", "train_fraction")


def prepare(
    source: Path | str | Sequence[Path | str] | None, name: str, out_root: Path, *, overwrite: bool = False, **options
) -> Path:
    """Turn a source into the atomic files of the data set ``name``.

    Args:
        source: a file or zip file, a pattern of file names, a folder with the files of one data set or log, several
            files of one log, or None where ``options`` names ``train`` and ``test``.
        name: name of the new data set.
        out_root: folder to put its folder in.
        overwrite: replace a data set of that name.
        options: see :class:`PrepareOptions`.

    Returns:
        The data set's folder; its JSON file says what was read, kept and dropped.

    Raises:
        UserError: the input is wrong; nothing is written then.
    """
    if not name or name.startswith(".") or any(mark in name for mark in "/\\\t\n\r"):
        raise UserError(f"name {name!r} cannot be a folder's name; use letters, digits, - and _")
    target = Path(out_root) / name
    if target.exists() and not overwrite:
        raise UserError(f"{target} exists already; give another name or --overwrite")
    data, provenance = load_source(source, name, PrepareOptions(**options))
    with terminal.step(f"writing {target}"):
        return write_dataset(out_root, data, provenance, overwrite)


def load_source(
    source: Path | str | Sequence[Path | str] | None, name: str, options: PrepareOptions
) -> tuple[SessionData, dict]:
    """Read, filter and split a source without writing anything.

    A source that is already split is taken as it is. One log is filtered (:func:`filter_log`), its sessions are
    split by the time of their last click (:func:`time_split`), and test clicks on items unseen in train, then test
    sessions of fewer than two clicks, are dropped; ``SessionData.whole_test`` keeps them.

    Returns:
        The data set, and where it comes from as plain data.

    Raises:
        UserError: naming the file and the line or the option.
    """
    record = Record()
    with _files_of(source, options) as files:
        parts, formats, content = {}, set(), ItemTable()
        for role, paths in files.splits.items():
            kind = _format(paths, options)
            formats.add(kind)
            account = Record()
            with terminal.step(_reading(paths)) as came_out:
                parts[role], named = _read(paths, kind, options, account)
                clicks, sessions = len(parts[role].sessions.items), len(parts[role].sessions)
                came_out(f"{clicks:,} clicks in {sessions:,} sessions")
            record.add(role, account)
            content |= named
        if files.items is not None:
            # A file that lies beside the log is taken as it is.
            wanted = options.item_columns or (ALL if options.items is None else ())
            content |= read_items(files.items, options.items_id, options.item, options.title, wanted, options.encoding)
        paths = [path for paths in files.splits.values() for path in paths]
        provenance = {
            "sources": _fingerprints([path for path in (*paths, files.items) if path is not None]),
            "format": "+".join(sorted(formats)),
            "settings": options.given,
            "items_from": None if files.items is None else files.items.name,
        }
    whole_test = None
    if "log" in parts:
        with terminal.step("filtering and splitting"):
            parts, whole_test = _filter_and_split(parts.pop("log"), options, record)
    else:
        given = [key for key in _LOG_ONLY if getattr(options, key) is not None]
        if given:
            raise UserError(f"{given[0]} is for one log to be split; files already split are taken as they are")
    data = assemble(name, parts["train"], parts["test"], parts.get("valid"))
    for split in ("train", "test"):
        empty = getattr(data, split).n_instances == 0
        if empty and not (split == "test" and options.test_ratio == 0):
            raise UserError(f"data set {name}: no {split} session has two clicks, so that nothing can be predicted")
    if whole_test is not None:
        data = replace(data, whole_test=whole_test)
    data = _with_content(data, content, record)
    with terminal.step("looking the data set over"):
        look_over(data, record)
    provenance["record"] = record.as_json()
    provenance["content_sha256"] = content_sha256(data)
    return data, provenance


def _with_content(data: SessionData, content: ItemTable, record: Record) -> SessionData:
    """The data set with what is known of its items, those among them that only the test's time knows."""
    items = dict.fromkeys(data.tokens[1:])
    if data.whole_test is not None:
        items |= dict.fromkeys(data.whole_test.tokens[np.unique(data.whole_test.sessions.items)])
    has_titles = bool(content.titles)
    content = content.of(items)
    known = {"title": content.titles} if has_titles else {}
    known |= {f"{name}:{column.kind}": column.values for name, column in content.columns.items()}
    if known:
        record.read["of items"] = ", ".join(known)
    for name, values in known.items():
        if len(values) < len(items):
            hint = "" if values else ": are their ids written otherwise?"
            n_without = len(items) - len(values)
            record.warn(f"{n_without:,} of {len(items):,} items have no {name.partition(':')[0]}{hint}")
    return replace(data, titles=content.titles, item_columns=content.columns)


@contextmanager
def _files_of(source: Path | str | Sequence[Path | str] | None, options: PrepareOptions) -> Iterator[SourceFiles]:
    with tempfile.TemporaryDirectory() as unpacked:
        if source is None or source == []:
            if options.train is None or options.test is None:
                raise UserError("give a source, or the files already split with --train and --test")
            files = SourceFiles(train=Path(options.train), test=Path(options.test))
            if options.valid is not None:
                files = replace(files, valid=Path(options.valid))
        else:
            if options.train is not None or options.test is not None or options.valid is not None:
                raise UserError("give one source, or --train and --test, not both")
            sources = [Path(one) for one in ([source] if isinstance(source, str | Path) else source)]
            for k, path in enumerate(sources):
                if path.suffix == ".zip" and path.is_file():
                    sources[k] = Path(unpacked) / str(k)
                    extract_zip(path, sources[k])
            files = find_files(sources, options.is_log)
        yield files if options.items is None else replace(files, items=Path(options.items))


def _format(paths: list[Path], options: PrepareOptions) -> str:
    if options.format != "auto":
        return options.format
    if options.is_log:
        # Rows of prefixes may call their session otherwise, too; no other option of logs is theirs.
        given = {f.name for f in fields(LogColumns)} & set(options.given)
        return "presplit" if given == {"session"} and all(map(holds_prefixes, paths)) else "clicks"
    formats = {detect_format(path) for path in paths}
    if len(formats) == 1:
        return formats.pop()
    raise UserError(f"{paths[0]} and {len(paths) - 1} more are files of several kinds ({', '.join(sorted(formats))})")


def _read(paths: list[Path], kind: str, options: PrepareOptions, record: Record) -> tuple[NamedSessions, ItemTable]:
    if kind == "clicks":
        return read_log(paths, options.log_columns, record)
    if len(paths) > 1:
        raise UserError(f"{paths[0]} and {len(paths) - 1} more: only click logs may come in several files")
    if options.is_log and kind != "presplit":
        raise UserError(f"{paths[0]}: read as {kind}; options for the columns of click logs mean nothing here")
    if kind == "pickles":
        found = read_pickle(paths[0])
    elif kind == "presplit":
        found = read_inter(paths[0], record, options.session or "session_id")
    else:
        # Whoever says that these are session lines says that nothing else comes first.
        found = read_lines(paths[0], options.first_field or ("item" if options.format == "lines" else None))
    record.read |= {"files": 1, "form": kind, "clicks": len(found.sessions.items), "sessions": len(found.sessions)}
    return found, ItemTable()


def _filter_and_split(
    log: NamedSessions, options: PrepareOptions, record: Record
) -> tuple[dict[str, NamedSessions], NamedSessions | None]:
    """Train and test; and the test sessions with the clicks that were dropped for their items, if any were.

    The memory of the log becomes theirs, as it may be the largest that there is: what it was is gone.
    """
    sessions, named = log.sessions, replace(log, sessions=log.sessions.slice(0, 0))
    del log
    ratio = DEFAULT_TEST_RATIO if options.test_ratio is None and options.test_days is None else options.test_ratio
    # The test as it would be without any filter.
    read = sessions.slice(0, 0) if ratio == 0 else time_split(sessions, ratio, options.test_days)[1]
    n_read, n_sessions_read = read.n_instances, len(read)
    del read
    sessions = filter_log(
        sessions,
        min_support=options.min_support or 5,
        min_length=options.min_length or 2,
        max_length=options.max_length,
        record=record,
        in_place=True,
    )
    # A filter may take a session's last click, and with it its place in time.
    sessions = by_last_click(sessions, in_place=True)
    if ratio == 0:
        train, whole = sessions, sessions.slice(len(sessions), len(sessions))
    else:
        train, whole = time_split(sessions, ratio, options.test_days)
    if options.train_fraction is not None:
        n_clicks, n_sessions = len(train.items), len(train)
        train = last_fraction(train, options.train_fraction)
        record.drop(
            "older than the share of training sessions kept", n_clicks - len(train.items), n_sessions - len(train)
        )
    test = by_last_click(drop_unseen(whole, train))
    record.drop("test click on an item unseen in train", len(whole.items) - len(test.items), len(whole) - len(test))
    if len(test.items) < len(whole.items):
        late = np.setdiff1d(whole.items, np.flatnonzero(occurring(train.items)))
        n_lost, n_sessions_lost = n_read - test.n_instances, n_sessions_read - len(test)
        record.warn(
            f"{n_lost:,} of {n_read:,} test prefixes and {n_sessions_lost:,} of {n_sessions_read:,} test sessions are "
            f"dropped, by the filters and because {len(late):,} items are seen in the test's time only; run --fit=all "
            "trains on those, too"
        )
    parts = {"train": replace(named, sessions=train), "test": replace(named, sessions=test)}
    return parts, replace(named, sessions=whole) if len(test.items) < len(whole.items) else None


def _reading(paths: Sequence[Path]) -> str:
    size = sum(path.stat().st_size for path in paths if path.is_file()) / 1e6
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"reading {paths[0].name}{more} ({size:,.0f} MB)" if size >= 1 else f"reading {paths[0].name}{more}"


def _fingerprints(paths: Sequence[Path]) -> list[dict]:
    size = sum(path.stat().st_size for path in paths if path.is_file())
    with terminal.bar("checksums of what was read", size / 1e6, "MB") as shown:
        return [fingerprint(path, lambda n_bytes: shown.advance(n_bytes / 1e6)) for path in paths]


def fingerprint(path: Path, progress: Callable[[int], None] = lambda n_bytes: None) -> dict:
    """A source's name, size and SHA-256.

    Args:
        path: the file.
        progress: called with the number of bytes that were read.

    Raises:
        UserError: it cannot be read.
    """
    with reading(path):
        return {"file": path.name, "bytes": path.stat().st_size, "sha256": file_sha256(path, progress)}
