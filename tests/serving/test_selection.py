"""The best items of a row, against sorting all of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_tme.errors import UserError
from recbole_tme.serving.selection import top_k, top_k_of_row


@settings(max_examples=200, deadline=None)
@given(data=st.data(), n_rows=st.integers(1, 4), n_items=st.integers(1, 30))
def test_by_score_and_then_by_number(data, n_rows, n_items):
    # Few values, so that there are ties at every place.
    value = st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0, np.inf])
    scores = np.array(data.draw(st.lists(st.lists(value, min_size=n_items, max_size=n_items), min_size=n_rows,
                                         max_size=n_rows)), dtype=np.float32)  # fmt: skip
    k = data.draw(st.integers(1, n_items))
    for row, (places, of_places) in zip(scores, top_k(scores, k)):
        wanted = sorted(range(n_items), key=lambda i: (-row[i], i))[:k]
        assert places.tolist() == wanted and of_places.tolist() == row[wanted].tolist()
        assert top_k_of_row(row, k, np.arange(0)).tolist() == wanted


def test_what_is_left_out_fills_nothing_up():
    row = np.array([-np.inf, 1, -np.inf, -np.inf], dtype=np.float32)
    assert top_k_of_row(row, 3, np.array([0, 2])).tolist() == [1, 3]


@pytest.mark.parametrize("place", [0, 5, 9])
def test_numbers_that_are_none_are_refused(place):
    scores = np.zeros((2, 10), dtype=np.float32)
    scores[1, place] = np.nan
    with pytest.raises(UserError, match="NaN"):
        list(top_k(scores, 3))
