"""What is told of an error that another library raised."""

import pytest

from recbole_tme.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("one"), "one"),
        (OSError("\n the first\nthe second"), "the first"),
        (ValueError(), "ValueError"),
        (ValueError(" \n"), "ValueError"),
    ],
)
def test_it_is_one_line_even_where_nothing_is_said(error, line):
    assert first_line(error) == line
