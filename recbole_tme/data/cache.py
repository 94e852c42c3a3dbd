"""A binary copy of a data set beside its atomic files, so that large ones need not be parsed each time."""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from recbole_tme.data.items import ItemColumn
from recbole_tme.data.names import Names
from recbole_tme.data.readers.atomic import read_dataset
from recbole_tme.data.sessions import SessionData, Sessions
from recbole_tme.errors import UserError
from recbole_tme.utils.files import replacing
from recbole_tme.utils.shapes import mismatch

# To be raised whenever the same files are read as something else, or written here in another form.
CACHE_VERSION = 3
# Smaller files are parsed in less time than is worth a second copy of them.
LEAST_BYTES = 2**24
# Bytes that are read at a time where only a checksum is wanted.
BLOCK = 2**20

_PARTS = ("train.inter", "valid.inter", "test.inter", "item")
_SPLITS = ("train", "valid", "test")
_ARRAYS = ("items", "offsets", "times", "is_target")
# What is raised over a file that is cut off, flipped, of another kind, or promises more than there is memory for.
UNREADABLE = (
    *(OSError, EOFError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)

logger = logging.getLogger()


def read_cached(folder: Path, name: str) -> SessionData:
    """:func:`~recbole_tme.data.readers.atomic.read_dataset` by way of ``<name>.cache.npz`` in the same folder.

    The copy belongs to the atomic files' content, by a checksum, so that it is never taken for other files', whatever
    their dates. It is written whole or not at all, by as many processes at once as there are; where the folder cannot
    be written to it is left out, and where it is damaged it is ignored with a warning. It holds plain arrays, no
    pickles. Data sets of less than ``LEAST_BYTES`` get none.

    Raises:
        UserError: as ``read_dataset``.
    """
    folder = Path(folder)
    files = [file for file in (folder / f"{name}.{part}" for part in _PARTS) if file.is_file()]
    try:
        if sum(file.stat().st_size for file in files) < LEAST_BYTES:
            return read_dataset(folder, name)
        key = content_key(files)
    except OSError:
        # It says what is wrong better than this could.
        return read_dataset(folder, name)
    cache = folder / f"{name}.cache.npz"
    data = _load(cache, key, name)
    if data is None:
        data = read_dataset(folder, name)
        _store(cache, key, data, files)
    return data


def content_key(files: list[Path]) -> str:
    """A checksum of files' names and contents, and of this version's form, in hexadecimal digits."""
    digest = hashlib.blake2b(str(CACHE_VERSION).encode(), digest_size=16)
    for path in files:
        digest.update(f"\0{path.name}\0{path.stat().st_size}\0".encode())
        with open(path, "rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def _load(cache: Path, key: str, name: str) -> SessionData | None:
    """The cached data set; None where there is none, or one of other files, or a damaged one."""
    try:
        with np.load(cache, allow_pickle=False) as stored:
            if str(stored["key"]) != key:
                return None
            arrays = _Mapped(cache, stored)
            splits = {split: _sessions(arrays, split) for split in _SPLITS}
            titles = json.loads(arrays["titles"].tobytes())
            columns = {key: ItemColumn(*one) for key, one in json.loads(arrays["item_columns"].tobytes()).items()}
            tokens = np.asarray(_names(arrays, "tokens"))
            wrong = [mismatch(one.kind, str) or mismatch(one.values, {str: str}) for one in columns.values()]
            if any([mismatch(titles, {str: str}), *wrong]):
                raise ValueError("what is known of the items is no text by item")
            for sessions in splits.values():
                _check(sessions, len(tokens))
            return SessionData(name, tokens=tokens, titles=titles, item_columns=columns, **splits)
    except FileNotFoundError:
        return None
    except UNREADABLE as error:
        logger.warning("%s is damaged (%s); it is ignored and rewritten", cache, error)
        return None


class _Mapped(Mapping[str, np.ndarray]):
    """The arrays of an uncompressed ``.npz``, read from the file as they are used and shared by all that read it.

    The checksum of each is verified when it is asked for, block by block. What is never touched afterwards, such as the
    times of clicks in training, takes no memory; what is written to an array stays with this process.

    Args:
        path: the file.
        stored: the same, opened by numpy.
    """

    def __init__(self, path: Path, stored):
        self.path, self.stored = path, stored

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored.files)

    def __len__(self) -> int:
        return len(self.stored.files)

    def __contains__(self, name: object) -> bool:
        return name in self.stored.files

    def __getitem__(self, name: str) -> np.ndarray:
        archive = self.stored.zip
        member = archive.getinfo(f"{name}.npy")
        with archive.open(member) as part:
            version = np.lib.format.read_magic(part)
            header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[version[0]]
            shape, _, dtype = header(part)
            begin = part.tell()
            while part.read(BLOCK):
                pass
        if member.compress_type != zipfile.ZIP_STORED or dtype.hasobject:
            raise ValueError(f"{name} is not stored as it is")
        with self.path.open("rb") as file:
            # Before a part stands its header, which ends with a name and further fields of the lengths given there.
            file.seek(member.header_offset + 26)
            lengths = int.from_bytes(file.read(2), "little") + int.from_bytes(file.read(2), "little")
        offset = member.header_offset + 30 + lengths + begin
        if 0 in shape:
            return np.zeros(shape, dtype)
        return np.asarray(np.memmap(self.path, dtype, "c", offset, shape))


def _store(cache: Path, key: str, data: SessionData, files: list[Path]) -> None:
    columns = {name: (column.kind, column.values) for name, column in data.item_columns.items()}
    arrays = {"key": np.array(key), "titles": _json(data.titles), "item_columns": _json(columns)}
    arrays |= _text("tokens", Names(data.tokens))
    for split in _SPLITS:
        sessions = getattr(data, split)
        if sessions is not None:
            arrays |= _text(f"{split}.ids", sessions.ids)
            present = {name: getattr(sessions, name) for name in _ARRAYS}
            arrays |= {f"{split}.{name}": array for name, array in present.items() if array is not None}
    try:
        # Files that changed while they were read may be neither what was summed up nor what is there now.
        if content_key(files) == key:
            with replacing(cache) as file:
                np.savez(file, **arrays)
    except (OSError, UserError) as error:
        logger.debug("%s: not written (%s)", cache, error)


def _sessions(arrays, split: str) -> Sessions | None:
    if f"{split}.items" not in arrays:
        return None
    present = {name: arrays[f"{split}.{name}"] for name in _ARRAYS if f"{split}.{name}" in arrays}
    return Sessions(ids=_names(arrays, f"{split}.ids"), **present)


def _json(value) -> np.ndarray:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def _text(name: str, names: Names) -> dict[str, np.ndarray]:
    """Names as their UTF-8 bytes one after the other, and where each ends."""
    ends, text = names.buffers()
    return {f"{name}.ends": ends - ends[0], f"{name}.text": text[ends[0] : ends[-1]]}


def _names(arrays, name: str) -> Names:
    ends, text = arrays[f"{name}.ends"], arrays[f"{name}.text"]
    if ends.dtype != np.int64 or ends.ndim != 1 or not len(ends) or text.dtype != np.uint8:
        raise ValueError(f"{name} are no names")
    names = Names.of_buffers(ends, text)
    names.text.validate(full=True)
    return names


def _check(sessions: Sessions | None, n_items: int) -> None:
    """Refuse arrays that no data set is stored as: whoever gives away a data set gives its copy, too."""
    if sessions is None:
        return
    items, offsets, clicks = sessions.items, sessions.offsets, (len(sessions.items),)
    kinds = {"items": np.int32, "offsets": np.int64, "times": np.float64, "is_target": np.bool_}
    for name, kind in kinds.items():
        array = getattr(sessions, name)
        if array is not None and (array.dtype != kind or (array.shape != clicks and name != "offsets")):
            raise ValueError(f"{name} is of another shape or type")
    if offsets.shape != (len(sessions.ids) + 1,) or offsets[0] != 0 or offsets[-1] != len(items):
        raise ValueError("the sessions do not end where the clicks do")
    if (offsets[1:] < offsets[:-1]).any() or (len(items) and not 0 < items.min() <= items.max() < n_items):
        raise ValueError("a click is on no item, or in no session")
