"""The loaders: what a batch holds, their order, resume, and RecBole's models on them."""

from __future__ import annotations

import io
import math
import warnings
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.stock_recbole import make_config, make_data, stock_data, write_presplit
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.data.dataloader import FullSortEvalDataLoader, TrainDataLoader
from recbole.utils import get_model
from recbole.utils.case_study import full_sort_scores, full_sort_topk

from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.loader import SessionEvalLoader, SessionTrainLoader, bucketed_batches, build_loaders
from recbole_tme.errors import UserError
from recbole_tme.evaluation.ranks import rank_all

NEGATIVES = {"distribution": "uniform", "sample_num": 1}
PAIRWISE = {"FPMC", "TransRec"}
# Its default ranks more candidates than the catalogue of the tests has.
SMALL = {"GRU4RecCPR": {"reranker_CAN_NUM": "20"}, "SASRecCPR": {"reranker_CAN_NUM": "20"}}
MODELS = [
    *("BERT4Rec", "CORE", "Caser", "FOSSIL", "FPMC", "GCSAN", "GRU4Rec", "GRU4RecCPR", "HGN", "HRM", "LightSANs"),
    *("NARM", "NPE", "NextItNet", "RepeatNet", "SASRec", "SASRecCPR", "SHAN", "SINE", "SRGNN", "STAMP", "TransRec"),
]


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Builds configuration, data sets and loaders for a model on the same small data."""

    def build(model: str = "GRU4Rec", **values):
        negatives = NEGATIVES if model in PAIRWISE else None
        config = make_config(monkeypatch, tmp_path, model, **{"train_neg_sample_args": negatives, **values})
        data = make_data()
        dataset = SessionDataset(config, data)
        datasets = dataset.build()
        loaders = build_loaders(config, datasets)
        return SimpleNamespace(config=config, data=data, dataset=dataset, datasets=datasets, loaders=loaders)

    return build


def rows_of(batch) -> list[tuple]:
    """Each row of a batch as plain values."""
    fields = ("session_id", "item_id_list", "item_id", "item_length")
    return [
        (int(s), tuple(row[:n].tolist()), int(t), int(n)) for s, row, t, n in zip(*(batch[field] for field in fields))
    ]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=90), st.integers(1, 12), st.integers(1, 5), st.integers(0, 9))
def test_every_instance_is_in_one_batch(length, batch_size, window, seed):
    length = torch.tensor(length, dtype=torch.int32)
    batches = bucketed_batches(length, batch_size, window, torch.Generator().manual_seed(seed))
    assert sorted(torch.cat(batches).tolist()) == list(range(len(length)))
    assert len(batches) == math.ceil(len(length) / batch_size)
    assert sorted(map(len, batches), reverse=True)[:-1] == [batch_size] * (len(batches) - 1)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(1, 8), st.integers(2, 5), st.integers(0, 99))
def test_batches_of_a_window_do_not_overlap_in_length(n, batch_size, window, seed):
    generator = torch.Generator().manual_seed(seed)
    length = torch.randint(1, 20, (n,), generator=generator)
    state = generator.get_state()
    batches = bucketed_batches(length, batch_size, window, generator)
    generator.set_state(state)
    drawn = torch.randperm(n, generator=generator)
    number = {int(row): i for i, row in enumerate(drawn)}
    for w in range(math.ceil(n / (batch_size * window))):
        inside = [b for b in batches if number[int(b[0])] // (batch_size * window) == w]
        spans = sorted((int(length[b].min()), int(length[b].max())) for b in inside)
        assert all(a[1] <= b[0] for a, b in pairwise(spans))
        assert all(number[int(row)] // (batch_size * window) == w for b in inside for row in b)


def test_bucketing_saves_padding_and_one_turns_it_off():
    length = torch.randint(1, 40, (2000,), generator=torch.Generator().manual_seed(0))

    def padded(window: int) -> int:
        batches = bucketed_batches(length, 20, window, torch.Generator().manual_seed(1))
        return sum(len(b) * int(length[b].max()) for b in batches)

    assert padded(50) < 1.1 * int(length.sum()) < padded(1)
    off = bucketed_batches(length, 20, 1, torch.Generator().manual_seed(1))
    assert torch.equal(torch.cat(off), torch.randperm(2000, generator=torch.Generator().manual_seed(1)))


def test_train_loader_gives_each_instance_once_per_epoch_in_new_order(make):
    built = make(length_bucket=2)
    train = built.loaders[0]
    expected = sorted(rows_of(built.datasets[0][torch.arange(len(built.datasets[0]))]))
    epochs = [[row for batch in train for row in rows_of(batch)] for _ in range(2)]
    assert all(sorted(epoch) == expected for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert len(train) == len(list(train)) == math.ceil(len(expected) / 16)
    again = make(length_bucket=2).loaders[0]
    assert [row for batch in again for row in rows_of(batch)] == epochs[0]
    other = make(length_bucket=2, seed=8).loaders[0]
    assert [row for batch in other for row in rows_of(batch)] != epochs[0]


def test_equally_wide_batches_are_not_sorted_by_length(make):
    narrow, wide = (make(padding=padding).loaders[0] for padding in ("batch", "max"))
    lengths = narrow.dataset.inter_feat.prefix_length
    drawn = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(wide.config["seed"]))
    assert torch.equal(torch.cat([batch["item_length"] for batch in wide]), lengths[drawn].long())

    def spread(loader) -> float:
        return sum(float(batch["item_length"].float().std()) for batch in loader if len(batch) > 1)

    assert spread(narrow) < spread(wide) / 2


def test_batches_are_made_without_what_numpy_will_refuse(make):
    # NumPy 2 warns at every batch where RecBole is handed a tensor of positions.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for loader in make().loaders:
            assert list(loader)


def test_train_loader_without_shuffle_is_recboles(make, tmp_path):
    built = make(shuffle=False)
    write_presplit(built.data, tmp_path)
    stock, loaders = stock_data(built.config)
    names = [d.field2id_token["item_id"] for d in (stock, built.dataset)]
    pairs = list(zip(loaders[0], built.loaders[0], strict=True))
    for expected, batch in pairs:
        assert (names[0][expected["item_id"].numpy()] == names[1][batch["item_id"].numpy()]).all()
        assert torch.equal(expected["item_length"], batch["item_length"])
    assert len(pairs) == len(built.loaders[0])


def test_an_abandoned_epoch_is_not_continued(make):
    train = make().loaders[0]
    first = rows_of(next(iter(train)))
    rows = [row for batch in train for row in rows_of(batch)]
    assert len(rows) == len(set(rows)) == train.sample_size
    assert rows[: len(first)] != first


@pytest.mark.parametrize("done", [0, 1, 3, "all"])
def test_resume_continues_bit_for_bit(make, done):
    train = make(length_bucket=2).loaders[0]
    done = len(train) if done == "all" else done
    list(train)
    batches = iter(train)
    for _ in range(done):
        next(batches)
    stream = io.BytesIO()
    torch.save(train.state_dict(), stream)
    rest = [rows_of(batch) for batch in batches]
    following = [rows_of(batch) for batch in train]
    assert len(rest) == len(train) - done

    fresh = make(length_bucket=2).loaders[0]
    stream.seek(0)
    state = torch.load(stream, weights_only=True)
    fresh.load_state_dict(state)
    assert fresh.state_dict()["batches_done"] == done
    assert torch.equal(fresh.state_dict()["generator"], state["generator"])
    assert [rows_of(batch) for batch in fresh] == rest
    assert [rows_of(batch) for batch in fresh] == following


def test_resume_between_epochs(make):
    train = make().loaders[0]
    list(train)
    state = train.state_dict()
    expected = [rows_of(batch) for batch in train]
    fresh = make().loaders[0]
    fresh.load_state_dict(state)
    assert [rows_of(batch) for batch in fresh] == expected


@pytest.mark.parametrize(
    ("values", "key"),
    [({"train_batch_size": 8}, "batch_size was 16 and is now 8"), ({"length_bucket": 3}, "length_bucket was 50")],
)
def test_resume_with_other_batches_is_refused(make, values, key):
    state = make().loaders[0].state_dict()
    with pytest.raises(UserError, match=f"cannot resume: {key}"):
        make(**values).loaders[0].load_state_dict(state)


def test_eval_loader_iterates_as_recboles(make, tmp_path):
    built = make()
    write_presplit(built.data, tmp_path)
    stock, loaders = stock_data(built.config)
    names = [d.field2id_token["item_id"] for d in (stock, built.dataset)]
    for ours, theirs in zip(built.loaders[1:], loaders[1:]):
        assert isinstance(ours, FullSortEvalDataLoader) and len(ours) == len(theirs)
        for batch, expected in zip(ours, theirs, strict=True):
            assert batch[1] is expected[1] is None
            assert torch.equal(batch[2], expected[2])
            assert (names[1][batch[3].numpy()] == names[0][expected[3].numpy()]).all()
            assert torch.equal(batch[0]["item_length"], expected[0]["item_length"])


@pytest.mark.parametrize("padding", ["batch", "max"])
def test_ranked_batches_hold_every_instance_at_its_index(make, padding):
    built = make(padding=padding)
    test, dataset = built.loaders[2], built.datasets[2]
    seen, last = [], math.inf
    for batch, index in test.ranked_batches():
        assert rows_of(batch) == rows_of(dataset[index])
        assert batch["item_length"].max() <= last
        last = int(batch["item_length"].min())
        seen += index.tolist()
    assert sorted(seen) == list(range(len(dataset)))


def test_case_study_finds_the_sessions(make):
    built = make("SRGNN")
    test = built.loaders[2]
    torch.manual_seed(0)
    model = get_model("SRGNN")(built.config, test.dataset)
    users = test.dataset.token2id("session_id", [built.data.test.ids[3], built.data.test.ids[0]])
    scores, items = full_sort_topk(users, model, test, k=5)
    n = [len(built.data.test[s]) - 1 for s in (3, 0)]
    assert items.shape == scores.shape == (sum(n), 5)
    rows = [int(r) for u in users for r in (test.dataset.inter_feat["session_id"] == u).nonzero()]
    with torch.no_grad():
        expected = model.full_sort_predict(test.dataset[rows]).view(len(rows), -1)
    expected[:, 0] = -torch.inf
    assert torch.allclose(full_sort_scores(users, model, test), expected, atol=1e-6)
    assert (items == expected.topk(5).indices).all()


@pytest.mark.parametrize("name", MODELS)
def test_recboles_models_run_unchanged(make, name):
    built = make(name, **SMALL.get(name, {}))
    train, valid, test = built.loaders
    assert isinstance(train, TrainDataLoader)
    torch.manual_seed(0)
    model = get_model(name)(built.config, train.dataset)
    batch = next(iter(train))
    loss = model.calculate_loss(batch)
    loss = sum(loss) if isinstance(loss, tuple) else loss
    loss.backward()
    assert torch.isfinite(loss)
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    model.eval()
    with torch.no_grad():
        for interaction, _, _, targets in test:
            scores = model.full_sort_predict(interaction)
            assert scores.numel() == len(targets) * built.dataset.item_num
    assert len(rank_all(model, valid, "cpu")) == len(built.datasets[1])


def test_fearec_reads_the_data_set_itself(make):
    built = make("FEARec", train_batch_size=8)
    model = get_model("FEARec")(built.config, built.datasets[0])
    for batch in built.loaders[0]:
        if len(batch) == 8:
            assert torch.isfinite(model.calculate_loss(batch))
            break


def test_masked_item_batches(make):
    built = make("BERT4Rec", mask_ratio=0.5)
    n_items = built.dataset.item_num
    for loader in (built.loaders[0], (batch for batch, _ in built.loaders[2].ranked_batches())):
        batch = next(iter(loader))
        masked, original = batch["Mask_item_id_list"], batch["item_id_list"]
        changed = masked != original
        assert changed.any() and (masked[changed] == n_items).all() and (original[changed] > 0).all()


@pytest.mark.parametrize("sample_num", [1, 3])
def test_negatives_are_any_item_but_the_target(make, sample_num):
    built = make("FPMC", train_neg_sample_args={"distribution": "uniform", "sample_num": sample_num})
    train = built.loaders[0]
    rows = 0
    for batch in train:
        negatives = batch["neg_item_id"]
        assert len(batch) % sample_num == 0 and len(batch) <= 16
        assert (negatives != batch["item_id"]).all()
        assert negatives.min() >= 1 and negatives.max() < built.dataset.item_num
        rows += len(batch)
    assert rows == sample_num * len(built.datasets[0])
    assert train.step == 16 // sample_num and len(train) == math.ceil(len(built.datasets[0]) / train.step)


def test_popular_negatives_follow_training_targets_only(make):
    built = make("FPMC", train_neg_sample_args={"distribution": "popularity", "sample_num": 1})
    sampled = {int(item) for batch in built.loaders[0] for item in batch["neg_item_id"]}
    assert sampled <= set(built.datasets[0].inter_feat["item_id"].tolist())


def test_no_sampler_is_made_where_no_negative_is_asked_for(make):
    assert all(loader._sampler is None for loader in make().loaders)


def test_data_without_validation_has_no_validation_loader(make):
    built = make()
    train, _, test = built.datasets
    assert build_loaders(built.config, [train, None, test])[1] is None


def test_new_settings_reach_a_loader(make):
    built = make()
    built.config["train_batch_size"] = built.config["eval_batch_size"] = 5
    for loader in built.loaders:
        loader.update_config(built.config)
        assert loader.step == 5 and len(loader) == len(list(loader)) == math.ceil(loader.sample_size / 5)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"worker": 2}, "worker: 2 .*set worker: 0"),
        ({"single_spec": False}, "nproc: .*set nproc: 1"),
        ({"train_batch_size": 0}, "train_batch_size: must be a whole number of at least 1, not 0"),
        ({"train_batch_size": 64.5}, "train_batch_size: .*64.5"),
        ({"eval_batch_size": -3}, "eval_batch_size: .*-3"),
        ({"length_bucket": 0}, "length_bucket: .*not 0"),
        ({"length_bucket": True}, "length_bucket: .*True"),
        ({"eval_args": {"mode": {"valid": "full", "test": "uni100"}}}, "eval_args: mode 'uni100' for test"),
    ],
)
def test_impossible_settings_are_named(make, values, words):
    built = make()
    for key, value in values.items():
        built.config[key] = value
    with pytest.raises(UserError, match=words) as error:
        build_loaders(built.config, built.datasets)
    assert "\n" not in str(error.value)


def test_loaders_stand_alone(make):
    built = make()
    assert len(SessionTrainLoader(built.config, built.datasets[0])) == len(built.loaders[0])
    assert len(SessionEvalLoader(built.config, built.datasets[2])) == len(built.loaders[2])
    assert np.array_equal(
        torch.cat([batch[0]["item_id"] for batch in built.loaders[2]]).numpy(),
        built.datasets[2].inter_feat["item_id"].numpy(),
    )
