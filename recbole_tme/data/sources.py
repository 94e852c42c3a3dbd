"""What kind of files a source holds, and which of them is which."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recbole_tme.data.readers.clicklog import is_parquet
from recbole_tme.data.textfile import numbered_lines, open_bytes, reading
from recbole_tme.errors import UserError

FORMATS = ("pickles", "presplit", "lines", "clicks")
_PICKLE_MAGIC = b"\x80"
_LOG_SUFFIXES = (".inter", ".csv", ".tsv", ".dat", ".log", ".parquet")
_SPLIT_NAMES = (("all_train_seq.txt", "test.txt"), ("train.txt", "test.txt"), ("train.txt.gz", "test.txt.gz"))


@dataclass(frozen=True)
class SourceFiles:
    """The files of a source: either ``log`` (to be split) or ``train`` and ``test``, perhaps ``valid``."""

    log: Path | None = None
    train: Path | None = None
    test: Path | None = None
    valid: Path | None = None
    items: Path | None = None

    @property
    def splits(self) -> dict[str, Path]:
        """The files of clicks by role."""
        roles = {"log": self.log, "train": self.train, "valid": self.valid, "test": self.test}
        return {role: path for role, path in roles.items() if path is not None}


def find_files(folder: Path) -> SourceFiles:
    """Find the data files in a folder or, where it holds none, in the folders below it.

    Raises:
        UserError: none found, or several.
    """
    below = sorted(path for path in folder.rglob("*") if path.is_dir() and path.name[0] not in "._")
    for place in (folder, *below):
        found = _find_here(place)
        if found is not None:
            return found
    raise UserError(
        f"{folder}: none of all_train_seq.txt + test.txt, *.train.inter + *.test.inter, train.txt + test.txt "
        "or one *.inter in it; name the files with --train and --test"
    )


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
        return SourceFiles(log=logs[0], items=items if items.exists() else None)
    return None


def detect_format(path: Path) -> str:
    """Tell a file's format by its first bytes and its name.

    Raises:
        UserError: the file cannot be read or is empty.
    """
    if is_parquet(path):
        return "clicks"
    with reading(path), open_bytes(path) as file:
        if file.read(1) == _PICKLE_MAGIC:
            return "pickles"
    _, first = next(numbered_lines(path), (0, None))
    if first is None:
        raise UserError(f"{path}: the file is empty")
    suffix = Path(path.name.removesuffix(".gz")).suffix
    # Rows of our own form without times can only be taken in the order they are in.
    ordered = suffix == ".inter" and b"session_id:" in first and b"timestamp" not in first
    if b"item_id_list" in first or ordered:
        return "presplit"
    return "clicks" if suffix in _LOG_SUFFIXES else "lines"
