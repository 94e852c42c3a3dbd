"""Rows of length 1 against a loop."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_tme.utils.unit import unit_rows

NUMBERS = st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-6)


@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=5))
def test_rows_match_a_loop(rows):
    for made, row in zip(unit_rows(np.array(rows)), rows):
        length = math.sqrt(sum(value * value for value in row))
        assert made == pytest.approx([value / length if length else 0.0 for value in row])


def test_rows_of_almost_no_length_stay():
    rows = np.array([[3.0, 4.0], [0.0, 1e-12]])
    assert unit_rows(rows, 1e-9) == pytest.approx(np.array([[0.6, 0.8], [0.0, 1e-12]]))
    assert unit_rows(rows)[1] == pytest.approx([0.0, 1.0])
