import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_tme.data.names import Names

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=12)


@given(TEXTS, st.data())
@settings(deadline=None)
def test_they_read_like_a_list(names, data):
    found = Names(names)
    start, stop = data.draw(st.integers(-14, 14)), data.draw(st.integers(-14, 14))
    assert len(found) == len(names) and list(found) == found.tolist() == names
    assert found[start:stop].tolist() == names[start:stop] and found[::-1].tolist() == names[::-1]
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names))), dtype=bool)
    assert found[mask].tolist() == [name for name, taken in zip(names, mask) if taken]
    if names:
        index = np.array(data.draw(st.lists(st.integers(0, len(names) - 1), max_size=5)), dtype=np.int64)
        assert found[index].tolist() == found.take(index).tolist() == [names[k] for k in index]
        assert found[index[None]].tolist() == [[names[k] for k in index]]
        assert found[-1] == names[-1] and found[np.int64(0)] == found[np.array(0)] == names[0]
    part = found[start:stop]
    assert Names.joined([part, found]).tolist() == names[start:stop] + names
    assert pickle.loads(pickle.dumps(part)).tolist() == names[start:stop]
    assert np.asarray(part).tolist() == pa.array(part, pa.string()).to_pylist() == names[start:stop]
    ends, text = part.buffers()
    again = Names.of_buffers(np.ascontiguousarray(ends - ends[0]), text[ends[0] : ends[-1]])
    assert again.tolist() == names[start:stop]


@given(TEXTS)
@settings(deadline=None)
def test_equal_names_are_found(names):
    assert Names(names).has_equal() == (len(set(names)) < len(names))
    assert Names(["x", *names])[1:].has_equal() == (len(set(names)) < len(names))


@pytest.mark.parametrize(
    "given_as", [np.array(["a", "bc"]), np.array(["a", "bc"], dtype=object), pa.array(["a", "bc"]), ("a", "bc")]
)
def test_any_strings_will_do(given_as):
    assert Names(given_as).tolist() == ["a", "bc"] and str(Names(given_as)) == "<2 names: a, bc>"


def test_numbers_for_those_without_names():
    assert Names.numbered(3, 3).tolist() == ["3", "4", "5"] and Names.numbered(1, 0).tolist() == []
