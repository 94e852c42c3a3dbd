"""The binary copy of a data set: equal to the files, never of other files, and no trouble where it cannot be."""

import multiprocessing
import os
import shutil
import time
import zipfile

import numpy as np
import pytest

from recbole_tme.config.load import load_config
from recbole_tme.data import cache
from recbole_tme.data.cache import read_cached
from recbole_tme.data.readers.atomic import read_dataset, write_dataset
from recbole_tme.data.synthetic import random_dataset, toy
from recbole_tme.errors import UserError
from recbole_tme.evaluation.protocol import load_data


@pytest.fixture(autouse=True)
def however_small(monkeypatch):
    monkeypatch.setattr(cache, "LEAST_BYTES", 0)


@pytest.fixture
def folder(tmp_path):
    return write_dataset(tmp_path, toy(), {"format": "synthetic"})


def forbid_parsing(monkeypatch):
    def parse(folder, name):
        raise AssertionError("the atomic files were parsed")

    monkeypatch.setattr(cache, "read_dataset", parse)


def assert_same(ours, theirs):
    assert ours.name == theirs.name and ours.titles == theirs.titles
    assert ours.tokens.tolist() == theirs.tokens.tolist() and ours.tokens.dtype == theirs.tokens.dtype
    for split in ("train", "valid", "test"):
        a, b = getattr(ours, split), getattr(theirs, split)
        assert (a is None) == (b is None)
        for field in ("items", "offsets", "ids", "times", "is_target") if a is not None else ():
            x, y = getattr(a, field), getattr(b, field)
            assert (x is None) == (y is None)
            if x is not None:
                assert np.asarray(x).dtype == np.asarray(y).dtype and np.array_equal(x, y)


CLICKS = "session_id:token\titem_id:token\ttimestamp:float\tis_target:float\n"
ROWS = "s1\tä b\t1.5\t0\ns1\t\x01\t2.5\t1\ns1\tNA\t2.5\t0\ns2\tä b\t3\t0\ns2\tä b\t4\t1\n"


def write_by_hand(folder, valid=False):
    folder.mkdir()
    for split in ("train", "test", *(["valid"] if valid else [])):
        (folder / f"{folder.name}.{split}.inter").write_text(CLICKS + ROWS.replace("s", split), encoding="utf-8")
    (folder / f"{folder.name}.item").write_text('item_id:token\ttitle:token_seq\nä b\tTee, "grün"\n', encoding="utf-8")
    return folder


@pytest.mark.parametrize("make", [
    lambda path: write_dataset(path, toy(), {}),
    lambda path: write_dataset(path, random_dataset("random", 50, 20), {}),
    lambda path: write_by_hand(path / "hand"),
    lambda path: write_by_hand(path / "hand", valid=True),
])  # fmt: skip
def test_the_copy_is_the_data_set(make, tmp_path, monkeypatch):
    folder = make(tmp_path)
    expected = read_dataset(folder, folder.name)
    assert_same(read_cached(folder, folder.name), expected)
    forbid_parsing(monkeypatch)
    again = read_cached(folder, folder.name)
    assert_same(again, expected)
    again.train.items[0] = 1


def test_it_holds_plain_arrays(folder):
    read_cached(folder, "toy")
    with np.load(folder / "toy.cache.npz", allow_pickle=False) as arrays:
        assert all(arrays[name].dtype != object for name in arrays)


def test_changed_files_are_read_anew_and_their_copy_replaced(folder, monkeypatch):
    read_cached(folder, "toy")
    file = folder / "toy.train.inter"
    before = file.stat()
    text = file.read_text()
    first = text.splitlines()[1].split("\t")[0]
    # As long as before and of the same date.
    file.write_text(text.replace(f"\n{first}\t", f"\n{'x' * len(first)}\t"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    assert read_cached(folder, "toy").train.ids[0] == "x" * len(first)
    forbid_parsing(monkeypatch)
    assert read_cached(folder, "toy").train.ids[0] == "x" * len(first)


def test_a_new_file_and_a_lost_one_are_noticed(folder):
    read_cached(folder, "toy")
    shutil.copy(folder / "toy.test.inter", folder / "toy.valid.inter")
    assert read_cached(folder, "toy").valid is not None
    (folder / "toy.valid.inter").unlink()
    assert read_cached(folder, "toy").valid is None


def test_touched_files_keep_their_copy(folder, monkeypatch):
    read_cached(folder, "toy")
    (folder / "toy.train.inter").touch()
    forbid_parsing(monkeypatch)
    read_cached(folder, "toy")


def test_a_copy_of_another_version_is_not_taken(folder, monkeypatch):
    read_cached(folder, "toy")
    monkeypatch.setattr(cache, "CACHE_VERSION", cache.CACHE_VERSION + 1)
    forbid_parsing(monkeypatch)
    with pytest.raises(AssertionError, match="parsed"):
        read_cached(folder, "toy")


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)


def lose_a_part(path):
    with np.load(path) as arrays:
        kept = {name: arrays[name] for name in arrays if name != "tokens.text"}
    np.savez(path, **kept)


def pickled(path):
    with np.load(path) as arrays:
        kept = dict(arrays)
    np.savez(path, **kept | {"train.items": np.array([{}], dtype=object)})


DAMAGES = [truncate, flip, lose_a_part, pickled, lambda path: path.write_bytes(b""), lambda path: path.write_text("x")]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_copy_is_ignored_with_a_warning_and_written_anew(damage, folder, monkeypatch, caplog):
    read_cached(folder, "toy")
    path = folder / "toy.cache.npz"
    damage(path)
    assert_same(read_cached(folder, "toy"), read_dataset(folder, "toy"))
    (record,) = caplog.records
    assert record.levelname == "WARNING" and str(path) in record.getMessage()
    caplog.clear()
    forbid_parsing(monkeypatch)
    read_cached(folder, "toy")
    assert not caplog.records


WRONG = {
    "items of no catalogue": {"train.items": lambda items: items + 1000},
    "items of another type": {"train.items": lambda items: items.astype(np.float64)},
    "sessions beyond the clicks": {"test.offsets": lambda offsets: np.append(offsets[:-1], 10**12)},
    "sessions that run backwards": {"train.offsets": lambda offsets: np.r_[0, offsets[::-1][:-2], offsets[-1]]},
    "names beyond their text": {"tokens.ends": lambda ends: ends + 10**6},
    "names of another type": {"train.ids.ends": lambda ends: ends.astype(np.int32)},
    "too few times": {"train.times": lambda times: times[:-1]},
    "titles that are a list": {"titles": lambda _: np.frombuffer(b"[1]", np.uint8)},
    "columns of nothing": {"item_columns": lambda _: np.frombuffer(b'{"a": 1}', np.uint8)},
}


@pytest.mark.parametrize("what", WRONG)
def test_a_copy_that_somebody_made_to_harm_is_ignored(what, folder, caplog):
    """Its checksum of the files is right, but no data set is stored so."""
    data = read_cached(folder, "toy")
    copy = folder / "toy.cache.npz"
    with np.load(copy) as stored:
        arrays = dict(stored)
    for name, change in WRONG[what].items():
        arrays[name] = change(arrays[name])
    np.savez(copy, **arrays)
    assert_same(read_cached(folder, "toy"), data)
    assert "is damaged" in caplog.text
    caplog.clear()
    assert_same(read_cached(folder, "toy"), data)
    assert caplog.text == ""


def test_a_folder_that_cannot_be_written_to_has_none(folder, monkeypatch, caplog):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refuse)
    assert_same(read_cached(folder, "toy"), read_dataset(folder, "toy"))
    assert not (folder / "toy.cache.npz").exists() and not caplog.records


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_read_only_folder_is_left_alone(folder):
    folder.chmod(0o555)
    try:
        assert_same(read_cached(folder, "toy"), read_dataset(folder, "toy"))
        assert not (folder / "toy.cache.npz").exists()
    finally:
        folder.chmod(0o755)


def test_a_full_disk_leaves_nothing_behind(folder, monkeypatch):
    def fill(file, **arrays):
        file.write(b"x" * 100)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fill)
    before = sorted(os.listdir(folder))
    assert_same(read_cached(folder, "toy"), read_dataset(folder, "toy"))
    assert sorted(os.listdir(folder)) == before


def test_files_that_change_while_they_are_read_leave_no_copy(folder, monkeypatch):
    def read_and_change(path, name):
        data = read_dataset(path, name)
        with open(path / "toy.test.inter", "a") as file:
            file.write("late\ti1\t2e9\nlate\ti2\t2e9\n")
        return data

    monkeypatch.setattr(cache, "read_dataset", read_and_change)
    read_cached(folder, "toy")
    assert not (folder / "toy.cache.npz").exists()


def load_often(folder, start, results):
    while time.monotonic() < start:
        time.sleep(0.001)
    seen = set()
    for _ in range(15):
        data = read_cached(folder, "toy")
        seen.add((len(data.train.items), int(data.train.items.sum()), data.tokens[-1]))
        (folder / "toy.cache.npz").unlink(missing_ok=True)
    results.put(seen)


def test_processes_write_it_at_the_same_time(folder):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    start = time.monotonic() + 0.2
    workers = [context.Process(target=load_often, args=(folder, start, results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    seen = set.union(*(results.get(timeout=60) for _ in workers))
    for worker in workers:
        worker.join()
    expected = read_dataset(folder, "toy")
    assert seen == {(len(expected.train.items), int(expected.train.items.sum()), expected.tokens[-1])}
    assert all(worker.exitcode == 0 for worker in workers)
    read_cached(folder, "toy")
    assert zipfile.ZipFile(folder / "toy.cache.npz").testzip() is None
    assert not [name for name in os.listdir(folder) if name.startswith(".")]


def test_small_data_sets_have_none(folder, monkeypatch):
    monkeypatch.setattr(cache, "LEAST_BYTES", 2**24)
    read_cached(folder, "toy")
    assert not (folder / "toy.cache.npz").exists()


@pytest.mark.parametrize("wanted", [True, False])
def test_it_can_be_switched_off(wanted, folder):
    load_data(load_config("SRGNN", "toy", config_dict={"data_path": str(folder.parent), "data_cache": wanted}))
    assert (folder / "toy.cache.npz").exists() == wanted


def test_bad_files_are_refused_as_without_it(folder):
    with open(folder / "toy.train.inter", "a") as file:
        file.write("one field\n")
    with pytest.raises(UserError) as ours:
        read_cached(folder, "toy")
    with pytest.raises(UserError) as theirs:
        read_dataset(folder, "toy")
    assert str(ours.value) == str(theirs.value)
    assert not (folder / "toy.cache.npz").exists()


def test_a_missing_data_set_is_refused_as_without_it(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_cached(tmp_path, "absent")
