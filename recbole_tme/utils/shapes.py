"""JSON files of others, checked where they are read: a wrong file is one line that names it and the key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recbole_tme.errors import UserError

# What words a type has in a message.
_WORDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    type(None): "null",
}


def read_json(file: Path, shape: Any, advice: str) -> Any:
    """A JSON file's content, which has this shape.

    Args:
        file: the file.
        shape: what the content must be: a type (``float`` takes whole numbers, too, and no number is a ``bool``); a
            tuple of shapes for any of them; ``[shape]`` for a list of such; ``{str: shape}`` for an object of such;
            ``{"key": shape, "other?": shape}`` for an object with these keys, of which those with a question mark may
            be absent. Further keys may be there.
        advice: what to do, for the message.

    Raises:
        UserError: the file is missing, unreadable, not JSON or of another shape; names the key.
    """
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}; {advice}") from error
    except RecursionError as error:
        raise UserError(f"{file} is nested too deeply; {advice}") from error
    except ValueError as error:
        raise UserError(f"{file} is not valid JSON ({error}); {advice}") from error
    wrong = mismatch(content, shape)
    if wrong is not None:
        raise UserError(f"{file}: {wrong}; {advice}")
    return content


def mismatch(content: Any, shape: Any, where: str = "") -> str | None:
    """What about some plain data is not as :func:`read_json` describes shapes, in words; None where all is."""
    if isinstance(shape, tuple):
        found = [mismatch(content, one, where) for one in shape]
        return None if None in found else found[0]
    if isinstance(shape, type):
        kinds = (int, float) if shape is float else shape
        if isinstance(content, kinds) and (shape is bool or not isinstance(content, bool)):
            return None
        return f"{where or 'its content'} is {_word(content)}, not {_WORDS[shape]}"
    kind = type(shape)
    if not isinstance(content, kind):
        return f"{where or 'its content'} is {_word(content)}, not {_WORDS[kind]}"
    if _all_are(content, shape):
        return None
    if kind is list:
        parts = ((element, shape[0], f"{where}[{i}]") for i, element in enumerate(content))
    elif str in shape:
        parts = ((element, shape[str], _inside(where, key)) for key, element in content.items())
    else:
        missing = [key for key in shape if not key.endswith("?") and key not in content]
        if missing:
            return f"{_inside(where, missing[0])} is missing"
        named = ((key.removesuffix("?"), one) for key, one in shape.items())
        parts = ((content[key], one, _inside(where, key)) for key, one in named if key in content)
    return next((wrong for part in parts if (wrong := mismatch(*part)) is not None), None)


def _all_are(content: Any, shape: Any) -> bool:
    """Whether a list or an object of one type holds nothing else; fast, for the items of a catalogue."""
    one = shape[0] if isinstance(shape, list) else shape.get(str)
    values = content.values() if isinstance(content, dict) else content
    return isinstance(one, type) and set(map(type, values)) <= ({int, float} if one is float else {one})


def _inside(where: str, key: str) -> str:
    return f"{where}.{key}" if where else str(key)


def _word(content: Any) -> str:
    return _WORDS.get(type(content), type(content).__name__)
