"""Checkpoints: what goes in comes out, and nothing else is ever loaded."""

import pickle
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recbole_tme.errors import UserError
from recbole_tme.runs.checkpoint import (
    check_catalogue,
    load_checkpoint,
    plain_data,
    read_weights,
    restore_optimizer,
    save_checkpoint,
    write_weights,
)

ITEMS = ["[PAD]", "a", "b", "007", "ünïcode", "NA"]


def payload(**changes) -> dict:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Linear(40, 30)
        optimizer = torch.optim.Adam(model.parameters())
        model(torch.randn(2, 40)).sum().backward()
        optimizer.step()
    return {
        "model": "TMEGNN",
        "items": ITEMS,
        "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "history": [{"loss": 0.5, "name": None}, {"loss": 0.25, "done": True}],
    } | changes


@pytest.fixture
def saved(tmp_path) -> Path:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, payload())
    return path


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def test_round_trip(saved):
    before = payload()
    loaded = load_checkpoint(saved, items=ITEMS, model="TMEGNN")
    assert loaded.keys() == before.keys()
    for key in ("model", "items", "epoch", "history", "state_dict"):
        assert same(before[key], loaded[key]), key
    model = torch.nn.Linear(40, 30)
    optimizer = torch.optim.Adam(model.parameters())
    model.load_state_dict(loaded["state_dict"])
    optimizer.load_state_dict(loaded["optimizer"])
    assert optimizer.state_dict()["state"][0]["step"] == 1


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.integers(0, 9), inner, max_size=3)
        | st.sampled_from([torch.arange(4), torch.zeros(2, 3, dtype=torch.float64), torch.tensor(True)])
        | st.sampled_from([np.arange(3, dtype=np.int64), np.ones((2, 2), dtype=np.float32), np.zeros(2, dtype=bool)])
    ),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(PLAIN)
def test_any_plain_data_survives(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("plain") / "x.pt"
    save_checkpoint(path, payload(other_parameter={"data": data}))
    assert same(load_checkpoint(path)["other_parameter"]["data"], data)


def test_numpy_numbers_paths_enums_and_tuples_become_plain():
    from recbole.utils import ModelType

    value = {
        "a": np.float64(0.5),
        "b": (1, np.int32(2)),
        "c": Path("x"),
        "d": ModelType.SEQUENTIAL,
        "e": np.bool_(True),
    }
    expected = {"a": 0.5, "b": [1, 2], "c": "x", "d": "SEQUENTIAL", "e": True}
    assert same(plain_data(value, "value"), expected)
    assert plain_data(np.array(["a", "bc"]), "value") == ["a", "bc"]
    assert plain_data(torch.device("cpu"), "value") == "cpu"


@pytest.mark.parametrize(
    ("value", "where"), [(object(), "x is a object"), ({"a": [{1}]}, r"x\['a'\]\[0\] is a set"), ({(1, 2): 3}, "a key")]
)
def test_other_data_is_refused_before_writing(tmp_path, value, where):
    with pytest.raises(TypeError, match=where):
        save_checkpoint(tmp_path / "x.pt", payload(x=value))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["model", "items", "state_dict"])
def test_the_essentials_are_not_optional(tmp_path, key):
    incomplete = payload()
    del incomplete[key]
    with pytest.raises(ValueError, match=key):
        save_checkpoint(tmp_path / "x.pt", incomplete)


def test_writing_is_all_or_nothing(saved, monkeypatch):
    before = saved.read_bytes()

    def full_disk(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(UserError, match=r"cannot write .*checkpoint\.pt: No space left on device"):
        save_checkpoint(saved, payload(epoch=4))
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["checkpoint.pt"]


def test_unwritable_places(tmp_path):
    with pytest.raises(UserError, match="cannot write"):
        save_checkpoint(tmp_path / "no" / "such" / "folder.pt", payload())
    with pytest.raises(UserError, match="cannot write"):
        save_checkpoint("/proc/checkpoint.pt", payload())


def test_others_may_read_a_checkpoint(saved):
    assert stat.S_IMODE(saved.stat().st_mode) == 0o644


def test_no_pickled_object_is_in_the_file(saved):
    loaded = torch.load(saved, weights_only=True)
    assert loaded["format"] == "recbole_tme checkpoint"


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("evil-was-here"),))


def make_broken(kind: str, path: Path, whole: bytes) -> None:
    """Write a broken checkpoint of one kind."""
    if kind == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "one byte short":
        path.write_bytes(whole[:-1])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is no checkpoint\n" * 20)
    elif kind == "flipped":
        middle = len(whole) // 2
        flipped = bytes(byte ^ 0xFF for byte in whole[middle : middle + 200])
        path.write_bytes(whole[:middle] + flipped + whole[middle + 200 :])
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"state_dict": Evil()}))
    elif kind == "pickled objects":
        torch.save({"config": Evil(), "state_dict": {}}, path, pickle_protocol=4)
    elif kind == "other zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "hello")
    elif kind == "bare weights":
        torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    elif kind == "bare tensor":
        torch.save(torch.zeros(3), path)
    elif kind == "newer version":
        content = torch.load(path, weights_only=True)
        torch.save(content | {"version": 99}, path)


BROKEN = [
    ("truncated", "is not a checkpoint, or was cut off in the middle"),
    ("one byte short", "is not a checkpoint, or was cut off in the middle"),
    ("empty", "is empty"),
    ("text", "is not a checkpoint"),
    ("flipped", "is damaged"),
    ("pickle", "is not a checkpoint"),
    ("pickled objects", "holds pickled Python objects"),
    ("other zip", "is not a checkpoint of this program"),
    ("bare weights", "is not a checkpoint of this program"),
    ("bare tensor", "is not a checkpoint of this program"),
    ("newer version", "checkpoint version 99"),
]


@pytest.mark.parametrize(("kind", "message"), BROKEN)
def test_broken_file(saved, monkeypatch, kind, message):
    monkeypatch.chdir(saved.parent)
    make_broken(kind, saved, saved.read_bytes())
    with pytest.raises(UserError, match=message) as error:
        load_checkpoint(saved)
    assert str(saved) in str(error.value) and "\n" not in str(error.value)
    assert not Path("evil-was-here").exists()


def test_missing_file(tmp_path):
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(UserError, match="does not exist"):
            load_checkpoint(path)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1), st.integers(1, 200), st.integers(1, 255))
@example(0.97265625, 20, 111)
def test_flipped_bytes_are_refused_or_harmless(tmp_path_factory, place, length, mask):
    path = tmp_path_factory.mktemp("flip") / "x.pt"
    save_checkpoint(path, payload())
    good, whole = load_checkpoint(path), path.read_bytes()
    start = int(place * (len(whole) - 1))
    flipped = bytes(byte ^ mask for byte in whole[start : start + length])
    path.write_bytes(whole[:start] + flipped + whole[start + length :])
    try:
        loaded = load_checkpoint(path)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        # Padding between the records carries nothing.
        assert same(loaded, good)


def test_another_model_is_refused(saved):
    with pytest.raises(UserError, match="is a checkpoint of TMEGNN, not of SRGNN"):
        load_checkpoint(saved, model="SRGNN")


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["[PAD]", "b", "a", *ITEMS[3:]], r"2 of its 5 items have another number .*reordered"),
        ([*ITEMS, "new"], "0 of its 5 items are not in the data set and 1 of the data set's are new"),
        (ITEMS[:-2], "2 of its 5 items are not in the data set and 0"),
        (["[PAD]", "x", "y", *ITEMS[3:]], "2 of its 5 items are not in the data set and 2"),
        ([*ITEMS, "a"], "some of them twice"),
    ],
)
def test_another_catalogue_is_refused(saved, items, message):
    with pytest.raises(UserError, match=message):
        load_checkpoint(saved, items=items)


def test_a_checkpoint_without_items_fits_no_data_set(tmp_path):
    save_checkpoint(tmp_path / "x.pt", payload(items=[]))
    assert load_checkpoint(tmp_path / "x.pt")["items"] == []
    with pytest.raises(UserError, match="holds no item vocabulary"):
        load_checkpoint(tmp_path / "x.pt", items=ITEMS)


def test_items_are_compared_as_text():
    check_catalogue(np.array(["[PAD]", "1"], dtype=object), ["[PAD]", "1"], "x")
    check_catalogue(["[PAD]", 1], np.array(["[PAD]", "1"]), "x")


@pytest.mark.parametrize("part", ["state_dict", "best_state"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, part, value):
    weights = torch.ones(3, 4)
    weights[1, 2] = value
    save_checkpoint(tmp_path / "x.pt", payload(**{part: {"layer.weight": weights}}))
    with pytest.raises(UserError, match=r"1 of 12 weights of layer\.weight are not finite"):
        load_checkpoint(tmp_path / "x.pt")


def test_an_attention_mask_is_no_diverged_weight(tmp_path):
    mask = torch.full((4, 4), float("-inf")).triu(1)
    save_checkpoint(tmp_path / "x.pt", payload(state_dict={"mask": mask}))
    assert torch.equal(load_checkpoint(tmp_path / "x.pt")["state_dict"]["mask"], mask)


@pytest.mark.parametrize(
    ("changes", "optimizer", "message"),
    [
        ({"optimizer": None}, torch.optim.Adam, "holds no optimizer state"),
        ({}, torch.optim.SGD, "another learner"),
        ({}, torch.optim.Adagrad, "another learner"),
    ],
)
def test_optimizer_state_that_cannot_continue(changes, optimizer, message):
    model = torch.nn.Linear(40, 30)
    with pytest.raises(UserError, match=message):
        restore_optimizer(optimizer(model.parameters(), lr=0.1), payload(**changes), "x.pt")


def test_optimizer_state_of_another_model():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    with pytest.raises(UserError, match=r"x\.pt does not fit the model's optimizer"):
        restore_optimizer(torch.optim.Adam(model.parameters()), payload(), "x.pt")


def test_weights_that_two_modules_share_are_kept_under_both_names(tmp_path):
    layer = torch.nn.Linear(3, 3)
    model = torch.nn.ModuleDict({"first": layer, "again": layer, "other": torch.nn.Linear(3, 2)})
    model["other"].weight.data = torch.randn(3, 2).T
    write_weights(tmp_path / "model.safetensors", model)
    weights = read_weights(tmp_path / "model.safetensors")
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
