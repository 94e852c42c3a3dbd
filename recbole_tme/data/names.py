"""Many names as one text: a tenth of the memory that as many Python strings take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import pyarrow as pa

_AT_ONCE = 2**16


class Names(Sequence[str]):
    """Names in order, UTF-8 one after the other and where each ends. They cannot be changed.

    Read like an object array of str: a number gives a str, an array of numbers or a bool mask an array; but a slice
    gives ``Names``, a view, and so does :meth:`take`. NumPy and Arrow make arrays of it where they are given one.

    Args:
        values: the names: other ``Names``, an Arrow array (whose nulls are not looked for), or any strings.
    """

    __slots__ = ("text",)
    text: pa.LargeStringArray

    def __init__(self, values: Any):
        if isinstance(values, Names):
            values = values.text
        elif not isinstance(values, pa.Array | pa.ChunkedArray):
            values = pa.array(values if isinstance(values, np.ndarray) else list(values), pa.string())
        # Plain strings in Arrow end at two gigabytes.
        values = values.cast(pa.large_string())
        self.text = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values

    @classmethod
    def numbered(cls, start: int, n: int) -> Names:
        """The names ``str(start)``, ... of ``n`` things that have none of their own."""
        return cls(pa.array(np.arange(start, start + n)).cast(pa.large_string()))

    @classmethod
    def joined(cls, parts: Iterable[Names]) -> Names:
        """The names of several lists one after the other."""
        return cls(pa.chunked_array([part.text for part in parts], pa.large_string()))

    @classmethod
    def of_buffers(cls, ends: np.ndarray, text: np.ndarray) -> Names:
        """Names over what :meth:`buffers` gives, which is not copied."""
        return cls(pa.LargeStringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), pa.py_buffer(text)))

    def __len__(self) -> int:
        return len(self.text)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Names: ...
    @overload
    def __getitem__(self, index: np.ndarray) -> np.ndarray: ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return Names(self.text.slice(start, max(stop - start, 0)))
            return self.take(np.arange(start, stop, step))
        index = np.asarray(index)
        if index.ndim == 0:
            return self.text[int(index)].as_py()
        if index.dtype == bool:
            return np.asarray(self.take(index))
        return np.asarray(self.take(index.ravel())).reshape(index.shape)

    def take(self, index: np.ndarray) -> Names:
        """The names of some numbers, from 0, or where a bool mask is true."""
        numbers = np.flatnonzero(index) if index.dtype == bool else index
        return Names(self.text.take(pa.array(numbers, pa.int64())))

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self.text.slice(start, _AT_ONCE).to_pylist()

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        strings = self.text.to_numpy(zero_copy_only=False)
        return strings if dtype is None else strings.astype(dtype)

    def __arrow_array__(self, type=None) -> pa.Array:
        return self.text if type is None else self.text.cast(type)

    def __repr__(self) -> str:
        return f"<{len(self):,} names: {', '.join(self[:3])}{', ...' if len(self) > 3 else ''}>"

    def buffers(self) -> tuple[np.ndarray, np.ndarray]:
        """Views of where each begins and the last one ends, int64 ``[n + 1]``, in a text, uint8."""
        _, ends, text = self.text.buffers()
        ends = np.frombuffer(ends or bytes(8), np.int64)[self.text.offset : self.text.offset + len(self) + 1]
        return ends, np.frombuffer(text or b"", np.uint8)

    def has_equal(self) -> bool:
        """Whether two of them are the same."""
        ends, text = self.buffers()
        # Names that end alike at a time: a table of all of them is several times as large as they are.
        endings = np.zeros(len(self), np.uint8)
        filled = np.diff(ends) > 0
        endings[filled] = text[ends[1:][filled] - 1]
        for ending in np.flatnonzero(np.bincount(endings, minlength=256)):
            some = self.text.filter(pa.array(endings == ending))
            if len(some.unique()) < len(some):
                return True
        return False

    def tolist(self) -> list[str]:
        """All of them as Python strings."""
        return self.text.to_pylist()

    def __reduce__(self):
        # A slice alone, not all that it was cut from.
        return Names, (pa.concat_arrays([self.text]) if self.text.offset else self.text,)
