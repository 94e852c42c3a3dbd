"""The canonical files of a data set: written and read back without loss, whole or not at all."""

import json
import os
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_tme.data.catalogue import NamedSessions, assemble, catalogue, first_appearance
from recbole_tme.data.content import content_sha256
from recbole_tme.data.names import Names
from recbole_tme.data.readers import atomic
from recbole_tme.data.readers.inter import read_inter
from recbole_tme.data.sessions import PAD_TOKEN, SessionData, Sessions
from recbole_tme.data.synthetic import random_dataset
from recbole_tme.errors import UserError

# Anything a UTF-8 file can hold but the marks of the format itself.
token = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r"), min_size=1, max_size=8).filter(
    lambda text: text != PAD_TOKEN
)
odd = st.sampled_from(
    [
        "NA",
        "null",
        "NaN",
        "nan",
        "",
        "0",
        "-1",
        '"',
        '"a',
        'a"b"',
        " ",
        " x ",
        "#",
        "1e5",
        "\x00",
        "é",
        "\x85",
        "\u2028",
    ]
)
item = st.one_of(token, odd.filter(bool))
session = st.lists(item, min_size=2, max_size=6)


def build_sessions(lists, numbers, first_id=0, times=False, targets=None):
    lengths = [len(s) for s in lists]
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    n = int(offsets[-1])
    return Sessions(
        items=np.array([numbers[t] for s in lists for t in s], dtype=np.int32),
        offsets=offsets,
        ids=np.array([f"s {first_id + k}" for k in range(len(lists))], dtype=object),
        times=np.round(1396314210.774 + 0.001 * np.arange(n), 3) if times else None,
        is_target=None if targets is None else np.array(targets[:n]),
    )


def build_data(train, test, valid=None, times=False, targets=None, name="d"):
    tokens = sorted({t for s in [*train, *test, *(valid or [])] for t in s})
    numbers = {t: k + 1 for k, t in enumerate(tokens)}
    names = catalogue(tokens)
    parts = [NamedSessions(build_sessions(train, numbers, 0, times, targets), names)]
    parts.append(NamedSessions(build_sessions(test, numbers, 1000, times), names))
    parts.append(None if valid is None else NamedSessions(build_sessions(valid, numbers, 2000, times), names))
    return assemble(name, *parts)


def as_lists(data, split):
    sessions = getattr(data, split)
    return [[data.tokens[i] for i in sessions[s]] for s in range(len(sessions))]


def assert_same(a: SessionData, b: SessionData):
    assert a.tokens.tolist() == b.tokens.tolist()
    assert a.titles == b.titles
    for split in ("train", "valid", "test"):
        x, y = getattr(a, split), getattr(b, split)
        if x is None:
            assert y is None
            continue
        assert x.items.tolist() == y.items.tolist() and y.items.dtype == np.int32
        assert x.offsets.tolist() == y.offsets.tolist() and y.offsets.dtype == np.int64
        assert x.ids.tolist() == y.ids.tolist()
        assert (x.times is None) == (y.times is None)
        if x.times is not None:
            assert x.times.tolist() == y.times.tolist() and y.times.dtype == np.float64
        assert (x.is_target is None) == (y.is_target is None)
        if x.is_target is not None:
            assert x.is_target.tolist() == y.is_target.tolist() and y.is_target.dtype == bool


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    train=st.lists(session, min_size=1, max_size=5),
    test=st.lists(session, min_size=1, max_size=3),
    valid=st.none() | st.lists(session, min_size=1, max_size=2),
    times=st.booleans(),
    targets=st.none() | st.lists(st.booleans(), min_size=30, max_size=30),
)
def test_round_trip_of_odd_names(tmp_path_factory, train, test, valid, times, targets):
    root = tmp_path_factory.mktemp("round")
    data = build_data(train, test, valid, times, targets)
    assert as_lists(data, "train") == train
    folder = atomic.write_dataset(root, data, {})
    back = atomic.read_dataset(folder, "d")
    assert_same(data, back)
    assert as_lists(back, "train") == train and as_lists(back, "test") == test
    assert content_sha256(back) == content_sha256(data)


def test_files_are_recbole_atomic_files(tmp_path):
    data = build_data([["b", "a"], ["a", "c"]], [["c", "b"]], times=True)
    data = SessionData("d", data.train, data.test, data.tokens, titles={"a": "Alpha", "b": "B\u00eata"})
    folder = atomic.write_dataset(tmp_path, data, {"settings": {"k": 1}})
    assert sorted(p.name for p in folder.iterdir()) == ["d.item", "d.json", "d.test.inter", "d.train.inter"]
    assert (folder / "d.train.inter").read_text() == (
        "session_id:token\titem_id:token\ttimestamp:float\n"
        "s 0\tb\t1396314210.774\ns 0\ta\t1396314210.775\ns 1\ta\t1396314210.776\ns 1\tc\t1396314210.777\n"
    )
    assert (folder / "d.item").read_text(encoding="utf-8") == "item_id:token\ttitle:token_seq\na\tAlpha\nb\tBêta\n"
    record = json.loads((folder / "d.json").read_text())
    assert record["format_version"] == atomic.FORMAT_VERSION and record["settings"] == {"k": 1}
    assert record["counts"]["train"] == {"sessions": 2, "clicks": 4, "instances": 2}
    assert atomic.read_dataset(folder, "d").titles == {"a": "Alpha", "b": "Bêta"}


def test_items_are_numbered_by_first_click_over_train_valid_test():
    data = build_data([["z", "b"], ["b", "a"]], [["q", "c"]], valid=[["c", "z", "y"]])
    assert data.tokens.tolist() == [PAD_TOKEN, "z", "b", "a", "c", "y", "q"]


@given(st.lists(st.integers(0, 6), max_size=20))
def test_first_appearance_matches_a_loop(codes):
    seen = list(dict.fromkeys(codes))
    assert first_appearance(np.array(codes, dtype=np.int32), 7).tolist() == seen


def test_a_file_of_many_blocks_keeps_the_order_of_first_appearance(tmp_path):
    # Arrow reads blocks of a megabyte with a dictionary each.
    data = random_dataset("many", 40_000, 5_000, seed=1)
    folder = atomic.write_dataset(tmp_path, data, {})
    assert (folder / "many.train.inter").stat().st_size > 3 << 20
    assert_same(data, atomic.read_dataset(folder, "many"))


def test_bom_and_carriage_returns_are_not_part_of_names(tmp_path):
    plain = "session_id:token\titem_id:token\n1\ta\n1\tb\n2\tb\n2\t\u00e9\n"
    (tmp_path / "plain.inter").write_text(plain, encoding="utf-8", newline="")
    (tmp_path / "dos.inter").write_text(plain.replace("\n", "\r\n"), encoding="utf-8-sig", newline="")
    a, b = read_inter(tmp_path / "plain.inter"), read_inter(tmp_path / "dos.inter")
    assert a.tokens.tolist() == b.tokens.tolist() == [PAD_TOKEN, "a", "b", "é"]
    assert a.sessions.items.tolist() == b.sessions.items.tolist()
    assert a.sessions.ids.tolist() == b.sessions.ids.tolist() == ["1", "2"]


def test_names_that_others_take_for_missing_values_survive(tmp_path):
    names = ["NA", "null", "NaN", "None", "0", "-1", '"', "1_0", "[pad]", "nan"]
    rows = "".join(f"{s}\t{name}\n" for s in ("NA", "null") for name in names)
    (tmp_path / "d.inter").write_text("session_id:token\titem_id:token\n" + rows)
    found = read_inter(tmp_path / "d.inter")
    assert found.tokens[found.sessions[1]].tolist() == names
    assert found.sessions.ids.tolist() == ["NA", "null"]


def test_existing_folder_is_kept_unless_told(tmp_path):
    old = build_data([["a", "b"]], [["a", "b"]])
    new = build_data([["x", "y"]], [["x", "y"]])
    folder = atomic.write_dataset(tmp_path, old, {})
    (folder / "extra").write_text("of the old data set")
    with pytest.raises(UserError, match=r"exists already.*--overwrite"):
        atomic.write_dataset(tmp_path, new, {})
    assert as_lists(atomic.read_dataset(folder, "d"), "train") == [["a", "b"]]
    atomic.write_dataset(tmp_path, new, {}, overwrite=True)
    assert as_lists(atomic.read_dataset(folder, "d"), "train") == [["x", "y"]]
    assert not (folder / "extra").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize("name", ["a\tb", "a\nb", "a\rb", ""])
def test_a_name_that_cannot_be_written_leaves_nothing(tmp_path, name):
    data = build_data([["a", "b"]], [["a", "b"]])
    tokens = data.tokens.copy()
    tokens[2] = name
    with pytest.raises(UserError, match="cannot be written"):
        atomic.write_dataset(tmp_path, SessionData("d", data.train, data.test, tokens), {})
    assert list(tmp_path.iterdir()) == []


def test_two_sessions_of_one_name_are_refused(tmp_path):
    data = build_data([["a", "b"], ["b", "a"]], [["a", "b"]])
    data = replace(data, train=replace(data.train, ids=Names(["s 7", "s 7"])))
    with pytest.raises(UserError, match="same id"):
        atomic.write_dataset(tmp_path, data, {})
    assert list(tmp_path.iterdir()) == []


def test_a_crash_while_writing_leaves_the_old_data_set(tmp_path, monkeypatch):
    folder = atomic.write_dataset(tmp_path, build_data([["a", "b"]], [["a", "b"]]), {})
    real_rename = os.rename

    def full_disk(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full_disk)
    with pytest.raises(UserError, match="No space left"):
        atomic.write_dataset(tmp_path / "new", build_data([["x", "y"]], [["x", "y"]]), {})
    assert list((tmp_path / "new").iterdir()) == []
    monkeypatch.setattr(os, "rename", real_rename)
    assert as_lists(atomic.read_dataset(folder, "d"), "train") == [["a", "b"]]


def test_place_that_is_no_folder_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        atomic.write_dataset(tmp_path / "file", build_data([["a", "b"]], [["a", "b"]]), {})


def test_the_faster_of_two_writers_wins_and_the_other_is_told(tmp_path, monkeypatch):
    """Both find the place empty; the second waits for the first, and then says that the place is taken."""
    first = build_data([["a", "b"]], [["a", "b"]])
    second = build_data([["x", "y"]], [["x", "y"]])
    write_files, told = atomic._write_files, []

    def write_second():
        try:
            atomic.write_dataset(tmp_path, second, {})
        except UserError as error:
            told.append(str(error))

    other = threading.Thread(target=write_second)

    def slow(folder, data, provenance):
        write_files(folder, data, provenance)
        other.start()

    monkeypatch.setattr(atomic, "_write_files", slow)
    folder = atomic.write_dataset(tmp_path, first, {})
    other.join(60)
    assert len(told) == 1 and "exists already" in told[0]
    assert as_lists(atomic.read_dataset(folder, "d"), "train") == [["a", "b"]]
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def test_content_checksum_tells_sessions_apart_but_not_their_names():
    base = build_data([["a", "b", "c"], ["c", "a"]], [["a", "b"]])
    renamed = build_data([["a", "b", "c"], ["c", "a"]], [["a", "b"]], times=True)
    renamed = replace(renamed, train=replace(renamed.train, ids=Names(["x", "y"])))
    assert content_sha256(base) == content_sha256(renamed)
    others = [
        build_data([["c", "a"], ["a", "b", "c"]], [["a", "b"]]),
        build_data([["a", "b"], ["c", "c", "a"]], [["a", "b"]]),
        build_data([["a", "b", "c"]], [["c", "a"], ["a", "b"]]),
        build_data([["ab", "c"], ["c", "a"]], [["a", "b"]]),
        build_data([["a", "b", "c"], ["c", "a"]], [["a", "b"]], targets=[False, False, True, False, True]),
    ]
    sums = [content_sha256(data) for data in [base, *others]]
    assert len(set(sums)) == len(sums)
