"""What every message about bad input must be."""

import re

import pytest

from recbole_tme.errors import UserError


def fails(read, path, *words, line=None):
    """``read(path)`` is refused in one line that names the file, the line and these words."""
    with pytest.raises(UserError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    if line is not None:
        assert re.search(rf"\bline {line}\b", message), message
    for word in words:
        assert word in message, message
