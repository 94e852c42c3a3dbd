"""Ranks against plain loops, and of RecBole's models against a full sort."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from helpers.stock_recbole import make_config, make_data
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.utils import get_model

from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.loader import build_loaders
from recbole_tme.errors import UserError
from recbole_tme.evaluation import ranks as ranks_module
from recbole_tme.evaluation.ranks import NonFiniteScores, Ranks, rank_all, target_ranks


def loop_ranks(scores: list[list[float]], targets: list[int]) -> tuple[list[int], list[int]]:
    """Strictly better and tied items of each row, one comparison at a time; column 0 is padding."""
    better, tied = [], []
    for row, target in zip(scores, targets):
        others = [value for item, value in enumerate(row) if item not in (0, target)]
        better.append(sum(value > row[target] for value in others))
        tied.append(sum(value == row[target] for value in others))
    return better, tied


# Few values, so that ties, infinities and zeros of both signs are common.
VALUES = st.sampled_from([-float("inf"), -2.5, -0.0, 0.0, 1.0, 1.5, float("inf")])


@settings(max_examples=150, deadline=None)
@given(
    st.integers(2, 9).flatmap(
        lambda n: st.lists(
            st.tuples(st.lists(VALUES, min_size=n, max_size=n), st.integers(1, n - 1)), min_size=1, max_size=7
        )
    ),
    st.integers(1, 40),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
)
def test_ranks_match_a_loop_whatever_the_chunk(rows, chunk, dtype):
    scores = [row for row, _ in rows]
    targets = [target for _, target in rows]
    better, tied = target_ranks(torch.tensor(scores, dtype=dtype), torch.tensor(targets), chunk)
    assert (better.tolist(), tied.tolist()) == loop_ranks(scores, targets)
    assert better.dtype == tied.dtype == torch.int32


def test_distinct_scores_rank_as_a_sort_does():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(40, 3000, generator=generator)
    target = torch.randint(1, 3000, (40,), generator=generator)
    order = scores[:, 1:].argsort(dim=1, descending=True)
    position = (order == (target - 1).unsqueeze(1)).nonzero()[:, 1]
    better, tied = target_ranks(scores, target, chunk=7000)
    assert torch.equal(better.long() + tied.long() // 2, position)


def test_scores_are_not_changed_and_may_be_a_view():
    scores = torch.rand(9, 24)[::2, ::2]
    copy = scores.clone()
    target = torch.arange(1, 6)
    assert all(torch.equal(a, b) for a, b in zip(target_ranks(scores, target), target_ranks(copy, target)))
    assert torch.equal(scores, copy)


@pytest.mark.parametrize("padding_score", [float("nan"), float("inf"), 0.5])
def test_the_padding_column_never_counts(padding_score):
    scores = torch.tensor([[padding_score, 0.5, 0.1, 0.9]])
    better, tied = target_ranks(scores, torch.tensor([1]))
    assert (better.item(), tied.item()) == (1, 0)


@pytest.mark.parametrize(("row", "column"), [(0, 1), (2, 3), (4, 2)])
def test_nan_is_an_error_and_not_a_rank(row, column):
    scores = torch.rand(5, 4)
    scores[row, column] = float("nan")
    with pytest.raises(NonFiniteScores, match=f"row {row} of a batch of 5"):
        target_ranks(scores, torch.tensor([1, 2, 3, 1, 2]), chunk=8)
    assert issubclass(NonFiniteScores, ValueError)


def test_nan_is_found_in_a_catalogue_of_one_item():
    with pytest.raises(NonFiniteScores, match="row 1 of a batch of 2"):
        target_ranks(torch.tensor([[0.0, 1.0], [0.0, float("nan")]]), torch.tensor([1, 1]))


@pytest.mark.parametrize("target", [0, 4, -1])
def test_targets_outside_the_catalogue_are_refused(target):
    with pytest.raises(ValueError, match=r"1\.\.3"):
        target_ranks(torch.rand(2, 4), torch.tensor([1, target]))


def test_no_row_is_no_rank():
    better, tied = target_ranks(torch.empty(0, 4), torch.empty(0, dtype=torch.long))
    assert better.shape == tied.shape == (0,)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_ranks_on_a_gpu_are_those_on_the_cpu():
    scores = torch.randint(0, 50, (64, 1000)).float()
    target = torch.randint(1, 1000, (64,))
    on_gpu = target_ranks(scores.cuda(), target.cuda())
    assert all(torch.equal(a, b.cpu()) for a, b in zip(target_ranks(scores, target), on_gpu))


@pytest.fixture
def setting(tmp_path, monkeypatch):
    """Builds (model, loaders, data sets) of one of RecBole's models on small data."""

    def build(name: str = "GRU4Rec", **values):
        config = make_config(monkeypatch, tmp_path, name, **values)
        datasets = SessionDataset(config, make_data()).build()
        loaders = build_loaders(config, datasets)
        torch.manual_seed(1)
        return get_model(name)(config, datasets[0]), loaders, datasets

    return build


def expected_ranks(model, dataset) -> tuple[list[int], list[int]]:
    """Ranks of a data set's targets by scoring all its instances at once and comparing in loops."""
    batch = dataset[torch.arange(len(dataset))]
    model.eval()
    with torch.no_grad():
        scores = model.full_sort_predict(batch).view(len(batch), -1)
    return loop_ranks(scores.tolist(), batch["item_id"].tolist())


@pytest.mark.parametrize("eval_batch_size", [1, 7, 500])
def test_a_models_ranks_come_in_the_order_of_the_data_set(setting, eval_batch_size):
    model, loaders, datasets = setting(eval_batch_size=eval_batch_size)
    model.double()
    ranks = rank_all(model, loaders[2], torch.device("cpu"))
    assert (ranks.better.tolist(), ranks.tied.tolist()) == expected_ranks(model, datasets[2])
    assert ranks.better.dtype == ranks.tied.dtype == np.int32
    for name, array in datasets[2].instance_arrays().items():
        assert (getattr(ranks, name) == array).all()


def test_a_model_that_scores_pairs_only_gets_the_same_ranks(setting, monkeypatch):
    model, loaders, datasets = setting()
    model.double()
    expected = expected_ranks(model, datasets[1])

    def refuse(interaction):
        raise NotImplementedError

    # Slices of three items, then of whole catalogues.
    for chunk in (3 * 16, 10**6):
        monkeypatch.setattr(ranks_module, "PAIRS_CHUNK", chunk)
        monkeypatch.setattr(model, "full_sort_predict", refuse)
        ranks = rank_all(model, loaders[1], "cpu")
        monkeypatch.undo()
        assert (ranks.better.tolist(), ranks.tied.tolist()) == expected


def test_recboles_pair_scoring_model_is_ranked(setting):
    model, loaders, datasets = setting(
        "DIN",
        train_neg_sample_args={"distribution": "uniform", "sample_num": 1},
        eval_args={"mode": "full", "order": "TO", "split": {"LS": "valid_and_test"}},
    )
    with pytest.raises(NotImplementedError):
        model.full_sort_predict(datasets[2][[0, 1]])
    ranks = rank_all(model, loaders[2], "cpu")
    row = 5
    batch = datasets[2][[row] * datasets[2].item_num]
    batch.update(datasets[2].get_item_feature())
    model.eval()
    with torch.no_grad():
        scores = model.predict(batch)
    better, tied = loop_ranks([scores.tolist()], [int(ranks.target[row])])
    assert abs(ranks.better[row] - better[0]) + abs(ranks.tied[row] - tied[0]) <= 1


@pytest.mark.parametrize("training", [True, False])
def test_ranking_uses_evaluation_mode_and_restores_the_models(setting, training):
    model, loaders, _ = setting("SASRec")
    model.train(training)
    first = rank_all(model, loaders[2], "cpu")
    assert model.training is training
    assert (first.rank == rank_all(model, loaders[2], "cpu").rank).all()


def test_a_diverged_model_is_an_error(setting):
    model, loaders, _ = setting()
    with torch.no_grad():
        model.item_embedding.weight.fill_(float("nan"))
    with pytest.raises(NonFiniteScores):
        rank_all(model, loaders[2], "cpu")


def test_scores_of_another_catalogue_are_an_error(setting, monkeypatch):
    model, loaders, _ = setting()
    monkeypatch.setattr(model, "full_sort_predict", lambda interaction: torch.rand(len(interaction), 5))
    with pytest.raises(ValueError, match=r"GRU4Rec gave .* 31 items"):
        rank_all(model, loaders[2], "cpu")


def make_ranks(n: int = 20) -> Ranks:
    rng = np.random.default_rng(0)
    return Ranks(
        better=rng.integers(0, 40, n).astype(np.int32),
        tied=rng.integers(0, 3, n).astype(np.int32),
        target=rng.integers(1, 40, n).astype(np.int32),
        session=np.sort(rng.integers(0, 6, n)).astype(np.int32),
        length=rng.integers(1, 9, n).astype(np.int32),
        is_repeat=rng.random(n) < 0.5,
        is_last_click=rng.random(n) < 0.5,
    )


def test_rank_is_the_mean_over_tied_places():
    ranks = replace(make_ranks(3), better=np.array([0, 4, 2], np.int32), tied=np.array([0, 1, 4], np.int32))
    assert ranks.rank.tolist() == [1.0, 5.5, 5.0]
    assert ranks.tie_share == pytest.approx(2 / 3)


def test_select_keeps_rows_together():
    ranks = make_ranks()
    part = ranks.select(ranks.length > 4)
    assert len(part) == (ranks.length > 4).sum() > 0
    assert all((getattr(part, f.name) == getattr(ranks, f.name)[ranks.length > 4]).all() for f in fields(Ranks))


def test_saved_ranks_come_back(tmp_path):
    ranks, path = make_ranks(), tmp_path / "ranks.npz"
    ranks.save(path)
    make_ranks(5).save(path)
    ranks.save(path)
    back = Ranks.load(path)
    for field in fields(Ranks):
        before, after = getattr(ranks, field.name), getattr(back, field.name)
        assert before.dtype == after.dtype and (before == after).all()
    assert [file.name for file in tmp_path.iterdir()] == ["ranks.npz"]


def test_ranks_that_cannot_be_written_leave_nothing(tmp_path):
    with pytest.raises(UserError, match=r"ranks\.npz"):
        make_ranks().save(tmp_path / "nowhere" / "ranks.npz")
    assert not list(tmp_path.iterdir())


def unequal(path):
    arrays = {field.name: np.zeros(3) for field in fields(Ranks)}
    np.savez(path, **{**arrays, "tied": np.zeros(2)})


@pytest.mark.parametrize(
    "write",
    [
        lambda path: None,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("ranks"),
        lambda path: np.savez(path, better=np.zeros(3)),
        lambda path: (make_ranks().save(path), path.write_bytes(path.read_bytes()[:200])),
        lambda path: np.savez(path, **{f.name: np.array([{}], dtype=object) for f in fields(Ranks)}),
        lambda path: path.write_bytes(b"\x93NUMPY\x01\x00"),
        unequal,
    ],
    ids=["missing", "empty", "text", "other arrays", "truncated", "objects", "array header", "unequal lengths"],
)
def test_a_bad_ranks_file_is_named(tmp_path, write):
    path = tmp_path / "ranks.npz"
    write(path)
    with pytest.raises(UserError, match=r"ranks\.npz.*evaluate the run again") as error:
        Ranks.load(path)
    assert "\n" not in str(error.value)
