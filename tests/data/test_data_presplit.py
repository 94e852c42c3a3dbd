"""Prefix rows folded back into sessions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_tme.data.readers.atomic import read_dataset
from recbole_tme.data.readers.inter import read_inter
from recbole_tme.data.readers.lines import read_lines
from recbole_tme.data.readers.presplit import fold

sessions_lists = st.lists(st.lists(st.integers(1, 4), min_size=2, max_size=6), min_size=1, max_size=8)


def prefix_rows(sessions, longest_first=True):
    rows = []
    for s in sessions:
        cuts = range(1, len(s))
        rows += [(s[:k], s[k]) for k in (reversed(cuts) if longest_first else cuts)]
    return rows


def fold_rows(rows, row_ids=None, names=None):
    lengths = [len(prefix) for prefix, _ in rows]
    return fold(
        items=np.array([i for prefix, _ in rows for i in prefix], dtype=np.int32),
        offsets=np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
        targets=np.array([target for _, target in rows], dtype=np.int32),
        row_ids=row_ids,
        id_names=names,
    )


def unfolded(sessions):
    session, target = sessions.instances()
    return [(sessions.items[sessions.offsets[s] : t].tolist(), int(sessions.items[t])) for s, t in zip(session, target)]


def fold_slowly(rows):
    """Longest first, by the definition: a row goes on with the session of the row before, or begins one."""
    folded = []
    for k, (prefix, target) in enumerate(rows):
        if k and prefix == rows[k - 1][0][:-1] and target == rows[k - 1][0][-1]:
            folded[-1][1] += 1
        else:
            folded.append([[*prefix, target], 1])
    return folded


@given(sessions_lists)
@settings(deadline=None)
def test_longest_first_is_lossless_in_order(sessions):
    rows = prefix_rows(sessions)
    folded, unnamed = fold_rows(rows)
    assert unnamed
    assert unfolded(folded) == rows
    if max(map(len, sessions)) > 2:
        # Sessions of two clicks are one row each and fit either order.
        assert [folded[s].tolist() for s in range(len(folded))] == [items for items, _ in fold_slowly(rows)]


@given(
    st.lists(st.tuples(st.lists(st.integers(1, 2), min_size=1, max_size=4), st.integers(1, 2)), min_size=1, max_size=9)
)
@settings(deadline=None)
def test_rows_in_any_order_keep_every_instance(rows):
    folded, _ = fold_rows(rows)
    assert sorted(unfolded(folded)) == sorted(rows)


@given(st.lists(st.permutations(range(1, 7)).map(lambda p: list(p)), min_size=1, max_size=5))
@settings(deadline=None)
def test_shortest_first_folds_into_the_same_sessions(sessions):
    folded, _ = fold_rows(prefix_rows(sessions, longest_first=False))
    assert [folded[s].tolist() for s in range(len(folded))] == sessions
    assert folded.is_target is None


def test_neighbours_that_seem_to_grow_do_not_mislead_longest_first():
    # [1] -> 2 then [1, 2] -> 3 also looks like one session shortest first.
    sessions = [[1, 2], [1, 2, 3], [5, 6, 7, 8]]
    folded, _ = fold_rows(prefix_rows(sessions))
    assert [folded[s].tolist() for s in range(len(folded))] == sessions


def test_rows_that_continue_nothing_have_one_target():
    folded, _ = fold_rows([([1, 2, 3], 4), ([7, 8], 9), ([7], 8), ([1, 2], 3)])
    assert [folded[s].tolist() for s in range(len(folded))] == [[1, 2, 3, 4], [7, 8, 9], [1, 2, 3]]
    assert folded.is_target.tolist() == [False] * 3 + [True] + [False, True, True] + [False, False, True]
    assert unfolded(folded) == [([1, 2, 3], 4), ([7, 8], 9), ([7], 8), ([1, 2], 3)]


def test_a_session_cut_short_at_its_beginning_keeps_its_targets():
    folded, _ = fold_rows([([1, 2, 3], 4), ([1, 2], 3)])
    assert folded[0].tolist() == [1, 2, 3, 4] and len(folded) == 1
    assert folded.is_target.tolist() == [False, False, True, True]


def test_shared_ids_name_and_bound_the_sessions():
    rows = [([1, 2], 3), ([1], 2), ([5, 6], 7), ([5], 6)]
    folded, unnamed = fold_rows(rows, np.array([0, 0, 1, 1]), np.array(["x", "y"], dtype=object))
    assert folded.ids.tolist() == ["x", "y"] and not unnamed
    # [1, 2] -> 3 is whole in itself where the ids say that it is another session.
    folded, _ = fold_rows(
        [([1, 2, 3], 4), ([1, 2], 3), ([1], 2)], np.array([0, 1, 1]), np.array(["x", "y"], dtype=object)
    )
    assert [folded[s].tolist() for s in range(len(folded))] == [[1, 2, 3, 4], [1, 2, 3]]


def test_row_numbers_are_not_taken_for_names():
    folded, unnamed = fold_rows([([1, 2], 3), ([1], 2)], np.array([0, 1]), np.array(["1", "2"], dtype=object))
    assert unnamed and folded.ids.tolist() == ["1"]


def test_one_name_for_two_sessions_gives_way_to_numbers():
    folded, unnamed = fold_rows([([1, 2], 3), ([8], 9)], np.array([0, 0]), np.array(["x"], dtype=object))
    assert unnamed and folded.ids.tolist() == ["1", "2"]


def test_data_set_of_prefix_rows_reads_directly(tmp_path):
    header = "session_id:token\titem_id_list:token_seq\titem_id:token\n"
    (tmp_path / "d.train.inter").write_text(header + "1\ta NA\tb\n2\ta\tNA\n3\tNaN\ta\n")
    (tmp_path / "d.test.inter").write_text(header + "1\tb\ta\n")
    (tmp_path / "d.valid.inter").write_text(header + "1\tNaN\tb\n")
    data = read_dataset(tmp_path, "d")
    assert data.tokens.tolist() == ["[PAD]", "a", "NA", "b", "NaN"]
    assert [data.tokens[data.train[s]].tolist() for s in range(2)] == [["a", "NA", "b"], ["NaN", "a"]]
    # Unnamed sessions are numbered over all splits: train, valid, test.
    assert [s.ids.tolist() for s in (data.train, data.valid, data.test)] == [["1", "2"], ["3"], ["4"]]


@pytest.fixture(scope="module")
def presplit_file(shared_data):
    path = shared_data / "orig" / "recbole-diginetica-session" / "diginetica-session.test.inter"
    if not path.exists():
        pytest.skip(f"needs {path}")
    return path


def test_recboles_diginetica_equals_the_fields_in_order(shared_data, presplit_file):
    found = read_inter(presplit_file)
    field = read_lines(shared_data / "diginetica" / "test.txt.gz")
    session, target = found.sessions.instances()
    field_session, field_target = field.sessions.instances()
    assert len(target) == 60_858
    assert session.tolist() == field_session.tolist() and target.tolist() == field_target.tolist()
    assert found.tokens[found.sessions.items].tolist() == field.tokens[field.sessions.items].tolist()
    assert found.sessions.is_target is None


def test_recboles_diginetica_rows_are_the_instances_one_by_one(presplit_file):
    found = read_inter(presplit_file)
    names = found.tokens[found.sessions.items].tolist()
    session, target = found.sessions.instances()
    starts = found.sessions.offsets[session].tolist()
    with open(presplit_file, encoding="utf-8") as file:
        next(file)
        for line, start, t in zip(file, starts, target.tolist(), strict=True):
            _, prefix, item = line.rstrip("\n").split("\t")
            assert prefix.split(" ") == names[start:t] and item == names[t]
