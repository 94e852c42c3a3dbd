"""Figures of an item embedding table: against all-pairs loops, and what must not change them."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from recbole_tme.nn.embedding_diagnostics import (
    diagnose,
    effective_rank,
    item_vectors,
    mean_cosine,
    neighbourhoods,
    rank_correlation,
    singular_values,
)
from recbole_tme.nn.unit import unit_rows
from recbole_tme.testing import N_ITEMS, Workbench


def table(seed=0, n=23, d=5, shift=0.7) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.linspace(0.2, 2, d)
    return (torch.randn(n, d, generator=generator, dtype=torch.float64) + shift) * scale


def pairs(vectors):
    """Cosine and unit-vector distance of every ordered pair of different rows, one at a time."""
    rows = [[x / (math.sqrt(sum(v * v for v in row)) or 1) for x in row] for row in vectors.tolist()]
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            if i != j:
                yield i, sum(x * y for x, y in zip(a, b)), math.dist(a, b)


@pytest.mark.parametrize("shape", [(2, 1), (2, 7), (23, 5)])
def test_mean_cosine_is_that_of_all_pairs(shape):
    vectors = table(1, *shape)
    expected = [cosine for _, cosine, _ in pairs(vectors)]
    assert mean_cosine(vectors) == pytest.approx(sum(expected) / len(expected))


def test_a_vector_of_zeros_has_cosine_zero_with_all():
    vectors = table(2)
    vectors[3] = 0
    expected = [cosine for _, cosine, _ in pairs(vectors)]
    assert mean_cosine(vectors) == pytest.approx(sum(expected) / len(expected))
    assert unit_rows(vectors)[3].tolist() == [0] * 5


@pytest.mark.parametrize("chunk", [1, 30, 2**22])
def test_uniformity_and_nearest_distance_are_those_of_all_pairs(monkeypatch, chunk):
    monkeypatch.setattr("recbole_tme.nn.embedding_diagnostics.PAIRS", chunk)
    vectors = table(3)
    found = list(pairs(vectors))
    potential = [math.exp(-2 * distance**2) for *_, distance in found]
    nearest = [min(distance for i, _, distance in found if i == row) for row in range(len(vectors))]
    uniformity, mean_nearest = neighbourhoods(vectors)
    assert uniformity == pytest.approx(math.log(sum(potential) / len(potential)))
    assert mean_nearest == pytest.approx(sum(nearest) / len(nearest))


def test_a_sample_of_anchors_is_compared_with_all_others():
    vectors = table(4)
    chosen = np.random.default_rng(9).choice(23, 6, replace=False)
    found = [(i, distance) for i, _, distance in pairs(vectors) if i in chosen]
    uniformity, nearest = neighbourhoods(vectors, anchors=6, seed=9)
    assert uniformity == pytest.approx(math.log(sum(math.exp(-2 * d**2) for _, d in found) / len(found)))
    assert nearest == pytest.approx(np.mean([min(d for j, d in found if j == i) for i in chosen]))
    assert neighbourhoods(vectors, anchors=6, seed=10) != (uniformity, nearest)
    assert neighbourhoods(vectors, anchors=23, seed=10) == neighbourhoods(vectors)


def test_equal_vectors_are_neighbours_at_distance_zero():
    assert neighbourhoods(torch.ones(4, 3, dtype=torch.float64)) == pytest.approx((0, 0), abs=1e-7)


def test_singular_values_are_the_roots_of_the_eigenvalues():
    vectors = table(5)
    eigenvalues = np.linalg.eigvalsh(vectors.numpy().T @ vectors.numpy())[::-1]
    assert singular_values(vectors).tolist() == pytest.approx(np.sqrt(eigenvalues / eigenvalues[0]).tolist())


def test_effective_rank_is_the_exponential_of_an_entropy():
    values = [3.0, 2.0, 1.0, 0.0]
    entropy = -sum(v / 6 * math.log(v / 6) for v in values if v)
    assert effective_rank(torch.tensor(values, dtype=torch.float64)) == pytest.approx(math.exp(entropy))


@pytest.mark.parametrize(
    ("vectors", "cosine", "rank", "area"),
    [
        (torch.eye(6), 0, 6, 1),
        (torch.arange(1.0, 7)[:, None] * torch.tensor([[1.0, 2, 2]]), 1, 1, 1 / 3),
        (torch.eye(6)[:, :3] * 0, 0, 0, 0),
    ],
    ids=["isotropic", "one direction", "zeros"],
)
def test_extreme_tables(vectors, cosine, rank, area):
    found = diagnose(vectors, np.arange(6))
    assert (found.mean_cosine, found.effective_rank, found.singular_area) == pytest.approx((cosine, rank, area))


def test_centring_removes_a_common_direction():
    spread = table(6, shift=0)
    found = diagnose(spread + 100, np.arange(len(spread)))
    assert found.mean_cosine > 0.99
    assert found.mean_cosine_centred == pytest.approx(mean_cosine(spread - spread.mean(0)))


def rotation(d, seed=0):
    return torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))[0]


def as_numbers(found):
    return [found.mean_cosine, found.mean_cosine_centred, found.singular_area, found.effective_rank,
            found.uniformity, found.nearest_distance, found.norm_popularity, *found.singular_values]  # fmt: skip


@pytest.mark.parametrize("change", [lambda v: v @ rotation(5), lambda v: 17 * v, lambda v: -v])
def test_rotation_and_scale_change_nothing(change):
    vectors, popularity = table(7), np.random.default_rng(0).integers(0, 9, 23)
    before, after = diagnose(vectors, popularity), diagnose(change(vectors), popularity)
    assert as_numbers(after) == pytest.approx(as_numbers(before))


def test_the_numbers_of_the_items_change_nothing():
    vectors, popularity = table(7), np.random.default_rng(0).integers(0, 9, 23)
    order = np.random.default_rng(1).permutation(23)
    assert as_numbers(diagnose(vectors[order], popularity[order])) == pytest.approx(
        as_numbers(diagnose(vectors, popularity))
    )


def test_norms_alone_change_singular_values_and_correlation_but_no_angle():
    vectors, popularity = table(8), np.arange(23)
    longer = vectors / vectors.norm(dim=1, keepdim=True) * torch.arange(1, 24)[:, None]
    before, after = diagnose(vectors, popularity), diagnose(longer, popularity)
    angles = [(d.mean_cosine, d.uniformity, d.nearest_distance) for d in (before, after)]
    assert angles[0] == pytest.approx(angles[1])
    assert after.norm_popularity == pytest.approx(1) and before.norm_popularity < 0.9
    assert after.effective_rank != pytest.approx(before.effective_rank)


def test_rank_correlation_is_pearsons_of_mean_ranks():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=40), rng.integers(0, 5, 40)
    expected = np.corrcoef(rankdata(first), rankdata(second))[0, 1]
    assert rank_correlation(first, second) == pytest.approx(expected)
    assert rank_correlation(first, np.ones(40)) is None


@pytest.mark.parametrize(("n", "popularity"), [(1, [1]), (3, [1, 2])])
def test_tables_that_cannot_be_diagnosed(n, popularity):
    with pytest.raises(ValueError, match="vectors"):
        diagnose(torch.ones(n, 2), np.array(popularity))


def test_the_table_of_single_precision_is_left_as_it_is():
    vectors = table(9).float().requires_grad_()
    before = vectors.detach().clone()
    diagnose(vectors, np.arange(23))
    assert torch.equal(vectors, before)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("TMEGNN", "item_embedding"),
        ("recbole:SASRec", "item_embedding"),
        ("recbole:BERT4Rec", "item_embedding"),
        ("recbole:RepeatNet", "item_matrix"),
    ],
)
def test_a_models_items_are_found_without_padding_and_mask(model, name):
    built = Workbench(model).build()
    found = item_vectors(built, N_ITEMS + 1)
    assert torch.equal(found, getattr(built, name).weight[1 : N_ITEMS + 1]) and not found.requires_grad


def test_the_items_of_a_model_inside_a_model_are_found():
    class Wrapper(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = Workbench("TMEGNN").build()
            self.other = torch.nn.Embedding(N_ITEMS + 1, 3)

    wrapper = Wrapper()
    assert torch.equal(item_vectors(wrapper, N_ITEMS + 1), wrapper.backbone.item_embedding.weight[1:])


def test_a_model_without_items_of_its_own_has_none():
    assert item_vectors(Workbench("SPop").build(), N_ITEMS + 1) is None
    two = torch.nn.ModuleList([torch.nn.Embedding(5, 2), torch.nn.Embedding(5, 2)])
    assert item_vectors(two, 5) is None and item_vectors(two[:1], 5).shape == (4, 2)
