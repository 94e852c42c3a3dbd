"""What kind of files a source holds, and which of them is which."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recbole_tme.data.readers import columns as usual
from recbole_tme.data.readers.forms import PICKLE, TEXT, encoding_of, form_of
from recbole_tme.data.textfile import numbered_lines
from recbole_tme.errors import UserError

FORMATS = ("pickles", "presplit", "lines", "clicks")
_PACKED = (".gz", ".zst", ".bz2", ".xz")
_LOG_SUFFIXES = (
    ".inter",
    ".csv",
    ".tsv",
    ".dat",
    ".log",
    ".parquet",
    ".feather",
    ".arrow",
    ".jsonl",
    ".ndjson",
    ".json",
)
_SPLIT_NAMES = (("all_train_seq.txt", "test.txt"), ("train.txt", "test.txt"), ("train.txt.gz", "test.txt.gz"))
_COLUMN_NAMES = {
    name.lower() for name in (*usual.SESSIONS, *usual.ITEMS, *usual.TIMES, "user_id", "user", "item_id_list")
}


@dataclass(frozen=True)
class SourceFiles:
    """The files of a source: either ``log`` (to be split) or ``train`` and ``test``, perhaps ``valid``."""

    log: tuple[Path, ...] = ()
    train: Path | None = None
    test: Path | None = None
    valid: Path | None = None
    items: Path | None = None

    @property
    def splits(self) -> dict[str, list[Path]]:
        """The files of clicks by role."""
        roles = {"train": self.train, "valid": self.valid, "test": self.test}
        found = {role: [path] for role, path in roles.items() if path is not None}
        return {"log": list(self.log)} if self.log else found


def find_files(sources: Sequence[Path], is_log: bool = False) -> SourceFiles:
    """Find the data files that a source names.

    Args:
        sources: files, patterns of names (``clicks/*.csv``), or folders. A folder may hold a data set that is split,
            one ``.inter`` file, or any number of files of one log, also in folders below it.
        is_log: whether the files are known to be click logs: those of a folder are parts of one, unless they are a
            data set that is split.

    Raises:
        UserError: no file is found, or several data sets.
    """
    if len(sources) == 1 and sources[0].is_dir():
        trains = list(sources[0].glob("*.train.inter")) if is_log else []
        found = _data_set(sources[0]) if trains or not is_log else None
        if found is not None:
            return found
    files = [file for source in sources for file in _expanded(source)]
    seen: set[Path] = set()
    for file in files:
        place = file.resolve()
        if place in seen:
            raise UserError(f"{file} is named twice: its clicks would count twice; leave one out")
        seen.add(place)
    return SourceFiles(log=tuple(files))


def _expanded(source: Path) -> list[Path]:
    if source.is_dir():
        files = [
            path
            for path in sorted(source.rglob("*"))
            if path.is_file() and _suffix(path) in _LOG_SUFFIXES and not _is_hidden(path.relative_to(source))
        ]
        if not files:
            raise UserError(
                f"{source}: none of all_train_seq.txt + test.txt, *.train.inter + *.test.inter, train.txt + test.txt "
                f"or files of a log (*{', *'.join(_LOG_SUFFIXES)}) in it; name the files with --train and --test"
            )
        return files
    if not source.exists() and glob.has_magic(str(source)):
        files = [Path(name) for name in sorted(glob.glob(str(source), recursive=True)) if Path(name).is_file()]
        if not files:
            raise UserError(f"{source}: no file is called so")
        return files
    return [source]


def _suffix(path: Path) -> str:
    name = path.name
    for packed in _PACKED:
        name = name.removesuffix(packed)
    return Path(name).suffix.lower()


def _is_hidden(path: Path) -> bool:
    return any(part[0] in "._" for part in path.parts)


def _data_set(folder: Path) -> SourceFiles | None:
    """A data set in a folder or, where it holds none, in one of the folders below it."""
    below = sorted(path for path in folder.rglob("*") if path.is_dir() and not _is_hidden(path.relative_to(folder)))
    return next((found for place in (folder, *below) if (found := _find_here(place)) is not None), None)


def _find_here(folder: Path) -> SourceFiles | None:
    for train, test in _SPLIT_NAMES:
        if (folder / train).exists() and (folder / test).exists():
            return SourceFiles(train=folder / train, test=folder / test)
    trains = sorted(folder.glob("*.train.inter"))
    logs = sorted(folder.glob("*.inter"))
    if len(trains) > 1 or (not trains and len(logs) > 1):
        names = ", ".join(path.name for path in (trains or logs)[:5])
        raise UserError(f"{folder}: several data sets in it ({names}); name the files")
    if trains:
        stem = trains[0].name.removesuffix(".train.inter")
        valid, items = folder / f"{stem}.valid.inter", folder / f"{stem}.item"
        return SourceFiles(
            train=trains[0],
            test=folder / f"{stem}.test.inter",
            valid=valid if valid.exists() else None,
            items=items if items.exists() else None,
        )
    if logs:
        items = logs[0].with_suffix(".item")
        return SourceFiles(log=(logs[0],), items=items if items.exists() else None)
    return None


def detect_format(path: Path) -> str:
    """Tell a file's format by its first bytes, its first line and its name.

    Raises:
        UserError: the file cannot be read, is empty, or is nothing that holds sessions.
    """
    form = form_of(path)
    if form == PICKLE:
        return "pickles"
    if form != TEXT or encoding_of(path) == "utf-16":
        return "clicks"
    _, first = next(numbered_lines(path), (0, None))
    if first is None:
        raise UserError(f"{path}: the file is empty")
    suffix = _suffix(path)
    # Rows of our own form without times can only be taken in the order they are in.
    ordered = suffix == ".inter" and b"session_id:" in first and b"timestamp" not in first
    if b"item_id_list:" in first or ordered:
        return "presplit"
    return "clicks" if suffix in _LOG_SUFFIXES or is_header(first) else "lines"


def holds_prefixes(path: Path) -> bool:
    """Whether a file's rows are prefixes of sessions, as in RecBole's files that are split already."""
    if form_of(path) != TEXT or encoding_of(path) == "utf-16":
        return False
    _, first = next(numbered_lines(path), (0, b""))
    return b"item_id_list:" in first


def is_header(line: bytes) -> bool:
    """Whether a line names columns, rather than items."""
    words = [word.partition(":")[0] for word in re.split(r"[\s,;|\"]+|::", line.decode("utf-8", "replace").lower())]
    return any(word in _COLUMN_NAMES for word in words)
