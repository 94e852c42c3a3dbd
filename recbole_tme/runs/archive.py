"""A checkpoint's file, looked at before torch reads it: whole, and none of it costs more than its size.

Torch's reader of weights runs no code of a file, but makes what the file says: a key that is a tuple of tuples, each
written once and used twice, takes 2^n steps to hash, and the same a million deep ends the process.
"""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path
from typing import Any

from recbole_tme.errors import UserError, in_one_line

# Torch writes a tensor as a tuple that holds the tuple of its shape.
DEEPEST = 16
_CONTENT = "data.pkl"
_LISTS = ("EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET", "LIST", "DICT", "FROZENSET")


def verify_archive(path: Path) -> None:
    """Check the sums of a checkpoint's parts, and that it says no more than its size can hold.

    Raises:
        UserError: the file is missing, empty, cut off, damaged, packed, or made to take memory or time.
    """
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist")
    size = path.stat().st_size
    if size == 0:
        raise UserError(f"checkpoint {path} is empty; its writing was cut off, use another one")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is not a checkpoint, or was cut off in the middle; use another one")
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            if sum(part.file_size for part in parts) > size:
                raise ValueError("its parts are larger than the file")
            damaged = archive.testzip()
            if damaged is not None:
                raise ValueError(f"wrong checksum of {damaged}")
            for part in parts:
                if part.filename.rpartition("/")[2] == _CONTENT:
                    check_structure(archive.read(part))
    # Flipped bits in the headers surface as nearly any exception.
    except Exception as error:
        raise UserError(f"checkpoint {path} is damaged ({in_one_line(error)}); use another one") from error


def check_structure(content: bytes) -> None:
    """Refuse a pickle whose lists, dictionaries or tuples stand in two places, or whose tuples nest too deeply.

    Nothing is made of it. What torch writes of plain data names strings, classes and functions twice, and nothing else.

    Raises:
        ValueError: the pickle is no such, or none at all.
    """
    # Of what is on the stack and what has a number: 0 for text, numbers and classes, else how deeply it nests.
    stack: list[int | None] = []
    numbered: dict[int, int | None] = {}
    for step, argument, _ in pickletools.genops(content):
        name, before, after = step.name, step.stack_before, step.stack_after
        if "PUT" in name or name == "MEMOIZE":
            number: Any = len(numbered) if argument is None else argument
            numbered[number] = stack[-1]
        elif "GET" in name:
            if numbered[int(argument or 0)]:
                raise ValueError("one part of it stands in two places")
            stack.append(0)
        elif not before:
            stack += [None] if name == "MARK" else [1 if name in _LISTS else 0 for _ in after]
        else:
            taken = _take(stack, before)
            deep = 1 + max(taken, default=0) if name.startswith("TUPLE") else 1
            if deep > DEEPEST:
                raise ValueError(f"more than {DEEPEST} tuples within one another")
            stack += [deep] * len(after)


def _take(stack: list[int | None], wanted: list) -> list[int]:
    """Take from the stack what a step does: so many, or all down to the last mark and what is before it."""
    taken: list[int] = []
    for kind in reversed(wanted):
        if kind is pickletools.stackslice:
            while stack[-1] is not None:
                taken.append(stack.pop() or 0)
        else:
            taken.append(stack.pop() or 0)
    return taken
