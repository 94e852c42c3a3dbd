"""The session data set against RecBole's own and against slow loops."""

from __future__ import annotations

import copy
import pickle
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.plain_config import PlainConfig, as_data
from helpers.stock_recbole import (
    SPLITS,
    loop_instances,
    make_config,
    make_data,
    make_sessions,
    stock_data,
    write_presplit,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.data import data_preparation
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureType

from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.names import Names
from recbole_tme.data.sessions import PAD_TOKEN, SessionData

ATTRIBUTES = [
    *("uid_field", "iid_field", "label_field", "time_field", "item_list_length_field", "item_id_list_field"),
    *("max_item_list_len", "dataset_name", "user_num", "item_num", "inter_num", "sparsity"),
    *("user_feat", "item_feat", "feat_name_list", "field2source", "field2type"),
]
FIELDS = {"session_id", "item_id_list", "item_id", "item_length"}


def instances_by_token(dataset) -> list[tuple]:
    """(session name, prefix names, target name) of each instance, in order."""
    batch = dataset[torch.arange(len(dataset))]
    items, sessions = dataset.field2id_token["item_id"], dataset.field2id_token["session_id"]
    return [
        (str(sessions[s]), tuple(map(str, items[row[:n].numpy()])), str(items[t]))
        for s, row, n, t in zip(
            batch["session_id"], batch["item_id_list"], batch["item_length"].tolist(), batch["item_id"]
        )
    ]


@pytest.fixture
def both(tmp_path, monkeypatch):
    """The same sessions as RecBole's data set and as ours, unbuilt, with the configuration and the sessions."""
    data = make_data()
    write_presplit(data, tmp_path)
    config = make_config(monkeypatch, tmp_path, shuffle=False, padding="max")
    stock, loaders = stock_data(config)
    return SimpleNamespace(config=config, data=data, stock=stock, loaders=loaders, ours=SessionDataset(config, data))


def test_instances_of_each_split_are_those_of_recbole(both):
    for split, stock_loader, ours in zip(SPLITS, both.loaders, both.ours.build()):
        expected = instances_by_token(stock_loader.dataset)
        assert instances_by_token(ours) == expected, split
        assert expected, split


def test_batches_have_the_content_and_types_of_recbole(both):
    stock_tokens = both.stock.field2id_token["item_id"]
    for stock_loader, ours in zip(both.loaders, both.ours.build()):
        start = 0
        for expected in stock_loader:
            expected = expected if isinstance(expected, Interaction) else expected[0]
            batch = ours[np.arange(start, start + len(expected))]
            start += len(expected)
            assert isinstance(batch, Interaction) and set(batch.columns) == set(expected.columns) == FIELDS
            assert all(batch[field].dtype == expected[field].dtype == torch.int64 for field in FIELDS)
            width = expected["item_id_list"].shape[1]
            assert batch["item_id_list"].shape == (len(expected), 12)
            assert not batch["item_id_list"][:, width:].any()
            for field in ("item_id", "item_id_list"):
                ids = batch[field] if field == "item_id" else batch[field][:, :width]
                assert (both.data.tokens[ids.numpy()] == stock_tokens[expected[field].numpy()]).all()
            assert torch.equal(batch["item_length"], expected["item_length"])
        assert start == len(ours)


def test_recboles_own_loaders_take_the_data_set(both):
    for stock_loader, loader in zip(both.loaders, data_preparation(both.config, both.ours)):
        assert type(loader) is type(stock_loader)
        assert instances_by_token(loader.dataset) == instances_by_token(stock_loader.dataset)
        for batch, expected in zip(loader, stock_loader, strict=True):
            pair = [b if isinstance(b, Interaction) else b[0] for b in (batch, expected)]
            assert torch.equal(pair[0]["item_length"], pair[1]["item_length"])


def test_attributes_are_those_of_recbole(both):
    built = both.ours.build()
    for stock, ours in zip([both.stock, *(loader.dataset for loader in both.loaders)], [both.ours, *built]):
        assert isinstance(ours, SequentialDataset)
        for name in ATTRIBUTES:
            assert getattr(ours, name) == getattr(stock, name), name
        assert len(ours) == len(stock) == len(ours.inter_feat)
        assert ours.field2seqlen == {"session_id": 1, "item_id": 1, "item_id_list": 12, "item_length": 1}
        assert ours.num("item_id") == ours.num("item_id_list") == stock.num("item_id") == len(both.data.tokens)
        assert ours.num("session_id") == stock.num("session_id")
        assert np.isclose(ours.avg_actions_of_users, stock.avg_actions_of_users)
        assert np.isclose(ours.avg_actions_of_items, stock.avg_actions_of_items)
        assert ours.fields(ftype=[FeatureType.TOKEN]) and set(ours.fields()) == set(stock.fields())
        for field, counter in (("item_id", "item_counter"), ("session_id", "user_counter")):
            by_name = [
                Counter({str(d.id2token(field, i)): n for i, n in getattr(d, counter).items()}) for d in (ours, stock)
            ]
            assert by_name[0] == by_name[1]
        assert torch.equal(ours.get_item_feature()["item_id"], stock.get_item_feature()["item_id"])
        assert torch.equal(ours.get_user_feature()["session_id"], stock.get_user_feature()["session_id"])


def test_matrices_recbole_derives_from_instances_agree(both):
    ours, stock = both.ours.build()[0], both.loaders[0].dataset

    def by_name(dataset, matrix) -> Counter:
        users, items = dataset.field2id_token["session_id"], dataset.field2id_token["item_id"]
        matrix = matrix.tocoo()
        return Counter({(str(users[u]), str(items[i])): v for u, i, v in zip(matrix.row, matrix.col, matrix.data)})

    assert by_name(ours, ours.inter_matrix("csr")) == by_name(stock, stock.inter_matrix("csr"))
    assert Counter(ours.history_item_matrix()[2].tolist()) == Counter(stock.history_item_matrix()[2].tolist())


def test_names_and_ids_translate_both_ways(both):
    ours = both.ours
    assert ours.id2token("item_id", [0, 3]).tolist() == [PAD_TOKEN, "i3"]
    assert ours.token2id("item_id", "i3") == ours.token2id("item_id_list", "i3") == 3
    assert ours.token2id("item_id", np.array(["i1", "i30"])).tolist() == [1, 30]
    name = both.data.test.ids[4]
    test = ours.build()[2]
    rows = (test.inter_feat["session_id"] == test.token2id("session_id", name)).nonzero().view(-1)
    assert {row[0] for row in instances_by_token(test.copy(test.inter_feat))[rows[0] : rows[-1] + 1]} == {name}
    with pytest.raises(ValueError, match="not existed"):
        ours.token2id("item_id", "nothing")


def test_sessions_of_one_name_share_an_id():
    data = SessionData(
        "tiny",
        train=make_sessions([[1, 2], [2, 3]], "s"),
        test=make_sessions([[3, 1, 2]], "s"),
        tokens=np.array([PAD_TOKEN, "a", "b", "c"], dtype=object),
    )
    train, valid, test = SessionDataset(PlainConfig(), data).build()
    assert valid is None
    assert train.inter_feat["session_id"].tolist() == [1, 2]
    assert test.inter_feat["session_id"].tolist() == [1, 1]
    assert train.user_num == test.user_num == 3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6, unique=True), min_size=2, max_size=3))
def test_numbers_of_sessions_match_a_loop(names):
    splits = [make_sessions([[1, 2]] * len(own), "s") for own in names]
    splits = [replace(split, ids=Names([f"s{i}" for i in own])) for split, own in zip(splits, names)]
    train, test, *valid = splits
    data = SessionData("tiny", train, test, np.array([PAD_TOKEN, "a", "b"], dtype=object), valid=(valid or [None])[0])
    number: dict[str, int] = {}
    dataset = SessionDataset(PlainConfig(), data)
    for part, split in zip(dataset.build(), (data.train, data.valid, data.test)):
        if split is not None:
            assert part.inter_feat.users.tolist() == [number.setdefault(name, len(number) + 1) for name in split.ids]
    assert list(dataset.session_names) == [PAD_TOKEN, *number]


def test_before_it_is_built_it_stands_for_all_splits(both):
    whole, parts = instances_by_token(both.ours), both.ours.build()
    assert whole == [row for part in parts for row in instances_by_token(part)]
    assert both.ours.inter_feat.offsets[-1] == sum(len(part.inter_feat.clicks) - 12 for part in parts)


def test_a_split_holds_no_click_of_another(both):
    """Not even behind a view's end, or in the memory a view belongs to: a model must not find the test sessions."""
    data = both.data
    for part, sessions in zip(both.ours.build(), (data.train, data.valid, data.test)):
        table = part.inter_feat
        assert table.clicks.tolist() == sessions.items.tolist() + [0] * table.max_length
        assert table.clicks.untyped_storage().nbytes() == table.clicks.nbytes
        assert len(table.users) == len(table.offsets) - 1 == len(sessions)
        assert part.splits == []


@st.composite
def session_lists(draw):
    clicks = draw(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=7), min_size=1, max_size=8))
    clicks.append([1, 2])
    flags = None
    if draw(st.booleans()):
        flags = [[draw(st.booleans()) for _ in session] for session in clicks]
        flags[-1] = [False, True]
    return make_sessions(clicks, "s", flags)


@settings(max_examples=80, deadline=None)
@given(session_lists(), st.integers(1, 8), st.sampled_from(["batch", "max"]), st.randoms(use_true_random=False))
def test_rows_match_a_loop(sessions, max_length, padding, random):
    config = PlainConfig(MAX_ITEM_LIST_LENGTH=max_length, padding=padding)
    dataset = SessionDataset(config, as_data(sessions)).build()[2]
    expected = loop_instances(sessions)
    assert dataset.inter_feat.session.tolist() == [s for s, _, _ in expected]
    rows = [random.randrange(len(expected)) for _ in range(random.randint(1, 6))]
    batch = dataset[rows]
    kept = [expected[row][1][-max_length:] for row in rows]
    width = max(map(len, kept)) if padding == "batch" else max_length
    assert batch["item_id_list"].tolist() == [prefix + [0] * (width - len(prefix)) for prefix in kept]
    assert batch["item_length"].tolist() == [len(prefix) for prefix in kept]
    assert batch["item_id"].tolist() == [expected[row][2] for row in rows]
    names = dataset.field2id_token["session_id"][batch["session_id"].numpy()].tolist()
    assert names == [sessions.ids[expected[row][0]] for row in rows]


@settings(max_examples=60, deadline=None)
@given(session_lists(), st.integers(1, 3))
def test_instance_arrays_match_a_loop(sessions, max_length):
    config = PlainConfig(MAX_ITEM_LIST_LENGTH=max_length)
    arrays = SessionDataset(config, as_data(sessions)).build()[2].instance_arrays()
    expected = loop_instances(sessions)
    first = expected[0][0]
    assert arrays["session"].tolist() == [s - first for s, _, _ in expected]
    assert arrays["target"].tolist() == [target for _, _, target in expected]
    assert arrays["length"].tolist() == [len(prefix) for _, prefix, _ in expected]
    assert arrays["is_repeat"].tolist() == [target in prefix for _, prefix, target in expected]
    longest = {s: max(len(p) for t, p, _ in expected if t == s) for s, _, _ in expected}
    assert arrays["is_last_click"].tolist() == [len(prefix) == longest[s] for s, prefix, _ in expected]
    assert {name: array.dtype.name for name, array in arrays.items()} == {
        "target": "int32",
        "session": "int32",
        "length": "int32",
        "is_repeat": "bool",
        "is_last_click": "bool",
    }


def same(a: Interaction, b: Interaction) -> bool:
    return set(a.columns) == set(b.columns) and all(torch.equal(a[field], b[field]) for field in a.columns)


def test_table_reads_like_an_interaction(both):
    table = both.ours.inter_feat
    real = Interaction({field: table[field] for field in table})
    assert isinstance(table, Interaction)
    assert list(table) == table.columns and set(table) == FIELDS and "item_id" in table and "price" not in table
    assert len(table) == table.length == len(real)
    wide = real["item_id_list"].shape[1]
    assert wide == 12 and table["item_id_list"] is table["item_id_list"]
    mask = torch.rand(len(table)) < 0.5
    for index in (
        [3, 0, 3],
        np.array([5, 1]),
        torch.tensor([2, 2, 7]),
        torch.tensor([4], dtype=torch.int32),
        slice(2, 9, 3),
        slice(None, 4),
        range(3, 6),
        mask,
        mask.numpy(),
        torch.tensor([-1]),
        6,
        np.int64(6),
    ):
        wanted = index if isinstance(index, slice) or np.ndim(index) == 0 else torch.as_tensor(np.asarray(index))
        expected = Interaction({field: real[field][wanted] for field in real})
        assert same(table[index], expected), index
        assert same(both.ours[index], expected), index
    assert len(table[[]]) == 0
    assert same(table.cpu(), real) and same(table.to("cpu"), real)
    assert {k: v.tolist() for k, v in table.numpy().items()} == {k: v.tolist() for k, v in real.numpy().items()}
    with pytest.raises(IndexError):
        table[[len(table)]]
    with pytest.raises(KeyError):
        table["price"]


def test_table_refuses_to_change_fields(both):
    table = both.ours.inter_feat
    for change in (
        lambda: table.__setitem__("item_id", torch.zeros(1)),
        lambda: table.__delitem__("item_id"),
        lambda: table.update(Interaction({"item_id": torch.zeros(1)})),
        lambda: table.drop("item_id"),
    ):
        with pytest.raises(TypeError, match="fixed"):
            change()
    assert "session instances" in str(table)


def test_sort_and_shuffle_reorder_this_copy_only(both):
    train = both.ours.build()[0]
    before = sorted(instances_by_token(train))
    other = copy.copy(train)
    other.inter_feat = copy.copy(train.inter_feat)
    other.inter_feat["item_id_list"]
    other.sort(by="item_id")
    assert other.inter_feat["item_id"].tolist() == sorted(train.inter_feat["item_id"].tolist())
    other.shuffle()
    assert sorted(instances_by_token(other)) == before
    assert torch.equal(other.inter_feat["item_id_list"], other[torch.arange(len(other))]["item_id_list"])
    assert sorted(instances_by_token(train)) == before


def test_copies_and_pickles_keep_the_content(both):
    train = both.ours.build()[0]
    train.inter_feat["item_id_list"]
    expected = instances_by_token(train)
    for twin in (copy.copy(train), copy.deepcopy(train), pickle.loads(pickle.dumps(train))):
        assert instances_by_token(twin) == expected
        assert twin.item_num == train.item_num and twin.token2id("item_id", "i2") == 2
        assert str(twin) == str(train)
    assert "The number of items" in str(train) and str(len(both.data.tokens)) in str(train)
