"""Shapes of plain data: what fits passes, what does not is named by its key."""

import pytest

from recbole_tme.errors import UserError
from recbole_tme.utils.shapes import mismatch, read_json

SHAPE = {"name": str, "share?": (float, None.__class__), "rows": [{"n": int}], "test": {str: float}}
GOOD = {"name": "x", "rows": [{"n": 1}], "test": {"hit": 1}, "more": object}


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({}, None),
        ({"share": None}, None),
        ({"share": 0.5}, None),
        ({"share": "a"}, "share is text, not a number"),
        ({"name": 1}, "name is a whole number, not text"),
        ({"rows": {}}, "rows is an object, not a list"),
        ({"rows": [{"n": 1}, {"n": True}]}, r"rows[1].n is true or false, not a whole number"),
        ({"rows": [{}]}, "rows[0].n is missing"),
        ({"test": {"hit": None}}, "test.hit is null, not a number"),
        ({"test": [1]}, "test is a list, not an object"),
    ],
)
def test_a_mismatch_is_named_by_its_key(change, wrong):
    assert mismatch(GOOD | change, SHAPE) == wrong


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "is not valid JSON"),
        (b"\xff", "is not valid JSON"),
        (b"[" * 100_000, "is nested too deeply"),
        (b"[]", "its content is a list, not an object"),
        (b'{"name": 1}', "rows is missing"),
    ],
)
def test_files_that_are_not_of_the_shape_are_one_line(tmp_path, content, said):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.json.*{said}.*; make it again") as caught:
        read_json(tmp_path / "a.json", SHAPE, "make it again")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="cannot read"):
        read_json(tmp_path / "b.json", SHAPE, "make it again")
