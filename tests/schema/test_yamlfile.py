"""Settings files that are made to cost: refused by their line before they cost anything."""

import time

import pytest

from recbole_tme.errors import UserError
from recbole_tme.schema.yamlfile import MOST_BYTES, parse_value, read_settings

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, r":6: .*more than 100,000 values, aliases counted"),
        ("a: &a [*a]\n", ":1: .*an alias of what it is part of"),
        ("a: &a {b: *a}\n", ":1: .*an alias of what it is part of"),
        (f"a: {'[' * 2000}{']' * 2000}\n", ":1: .*more than 64 levels of nesting"),
        ("a: 1\n" + "#" * MOST_BYTES, "has more than 4 MB"),
    ],
)
def test_what_costs_more_than_settings_do_is_refused_at_once(tmp_path, text, said):
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    started = time.perf_counter()
    with pytest.raises(UserError, match=said) as caught:
        read_settings(file)
    assert time.perf_counter() - started < 10 and "\n" not in str(caught.value)


def test_aliases_of_a_sensible_size_are_read(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("a: &x [1, 2]\nb: *x\nc: &m {d: 1}\n")
    assert read_settings(file).values == {"a": [1, 2], "b": [1, 2], "c": {"d": 1}}


def test_a_value_of_the_command_line_that_costs_too_much_is_text():
    for text in ("[" * 5000, "[" * 100 + "]" * 100, "&a [*a]"):
        assert parse_value(text) == text
