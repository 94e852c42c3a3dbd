"""Losses and miners against plain loops and PyTorch's own functions."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from recbole_tme.nn import losses
from recbole_tme.nn.losses import catalogue_cross_entropy, smooth_rank, top_columns, triplet_margin
from recbole_tme.nn.miners import clamp_window, draw_from_window


def problem(n_sessions=7, n_items=11, size=3, dtype=torch.double):
    torch.manual_seed(0)
    sessions = torch.randn(n_sessions, size, dtype=dtype, requires_grad=True)
    table = torch.randn(n_items + 1, size, dtype=dtype, requires_grad=True)
    return sessions, table, torch.randint(1, n_items + 1, (n_sessions,))


@pytest.mark.parametrize("chunk", [1, 3, 7, 128])
def test_catalogue_cross_entropy_equals_pytorchs_in_value_and_gradient(chunk, monkeypatch):
    monkeypatch.setattr(losses, "CHUNK_ROWS", {torch.float32: chunk})
    sessions, table, target = problem()
    loss, _ = catalogue_cross_entropy(sessions, table, target)
    expected = F.cross_entropy(sessions @ table[1:].T, target - 1)
    torch.testing.assert_close(loss, expected)
    ours = torch.autograd.grad(3 * loss, (sessions, table))
    theirs = torch.autograd.grad(3 * expected, (sessions, table))
    torch.testing.assert_close(ours, theirs)
    assert not ours[1][0].any(), "the padding row must not move"


def test_catalogue_cross_entropy_with_excluded_items_and_row_weights():
    sessions, table, target = problem()
    excluded = torch.stack([target % 11 + 1, (target + 3) % 11 + 1, torch.zeros_like(target)], dim=1)
    weight = torch.rand(len(target), dtype=torch.double)
    loss, _ = catalogue_cross_entropy(sessions, table, target, excluded=excluded, weight=weight)
    scores = sessions @ table.T
    for row, items in enumerate(excluded.tolist()):
        scores = scores.index_put((torch.tensor(row), torch.tensor([0, *items])), torch.tensor(-torch.inf).double())
    expected = (F.cross_entropy(scores, target, reduction="none") * weight).mean()
    torch.testing.assert_close(loss, expected)
    ours, theirs = (torch.autograd.grad(value, (sessions, table)) for value in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_catalogue_cross_entropy_with_padding_as_an_item():
    sessions, table, target = problem()
    loss, _ = catalogue_cross_entropy(sessions, table, target, with_padding=True)
    expected = F.cross_entropy(sessions @ table.T, target)
    torch.testing.assert_close(loss, expected)
    ours, theirs = (torch.autograd.grad(value, (sessions, table)) for value in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_catalogue_cross_entropy_passes_gradcheck():
    sessions, table, target = problem()
    assert torch.autograd.gradcheck(lambda s, t: catalogue_cross_entropy(s, t, target)[0], (sessions, table))


def test_catalogue_cross_entropy_with_a_frozen_side():
    sessions, table, target = problem()
    loss, _ = catalogue_cross_entropy(sessions, table.detach(), target)
    loss.backward()
    assert sessions.grad.abs().sum() > 0


def test_catalogue_cross_entropy_survives_extreme_scores():
    sessions, table, target = problem(dtype=torch.float)
    loss, _ = catalogue_cross_entropy(sessions * 1e4, table, target)
    assert torch.isfinite(loss)


def test_ranking_leaves_target_and_padding_out_and_is_in_order():
    sessions, table, target = problem()
    _, ranked = catalogue_cross_entropy(sessions, table, target, top=10)
    scores = (sessions @ table.T).tolist()
    for row, wanted in enumerate(target.tolist()):
        others = [item for item in range(1, 12) if item != wanted]
        assert ranked[row].tolist() == sorted(others, key=lambda item: -scores[row][item])


def test_ranking_does_not_change_the_loss():
    sessions, table, target = problem()
    plain, with_ranking = (torch.autograd.grad(catalogue_cross_entropy(sessions, table, target, n)[0], table)[0]
                           for n in (0, 5))  # fmt: skip
    assert torch.equal(plain, with_ranking)


@pytest.mark.parametrize("with_ranking", [0, 5])
def test_bfloat16_products_keep_the_gradients_within_half_a_percent(with_ranking):
    sessions, table, target = problem(n_sessions=300, n_items=2000, size=64, dtype=torch.float)
    excluded = torch.stack([target % 2000 + 1, torch.zeros_like(target)], dim=1)
    exact, rounded = (
        catalogue_cross_entropy(sessions, table * 0.2, target, with_ranking, excluded, precision=precision)[0]
        for precision in (None, torch.bfloat16)
    )
    assert rounded.dtype == torch.float
    torch.testing.assert_close(rounded, exact, rtol=1e-3, atol=0)
    for ours, expected in zip(*(torch.autograd.grad(loss, (sessions, table)) for loss in (rounded, exact))):
        assert (ours - expected).norm() < 0.005 * expected.norm()
        assert not torch.equal(ours, expected), "the products were not rounded"


def test_what_the_target_contributes_is_not_rounded():
    # A well-learned row: probability minus one-hot is tiny, and would vanish or explode in 8 bits.
    sessions = torch.tensor([[9.0, 0.0]], requires_grad=True)
    table = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    loss, _ = catalogue_cross_entropy(sessions, table, torch.tensor([1]), precision=torch.bfloat16)
    loss.backward()
    assert abs(sessions.grad[0, 1].item() - torch.tensor(-9.0).exp().item()) < 1e-6


@given(st.integers(0, 2**32 - 1), st.integers(1, 3000), st.integers(1, 12), st.booleans())
def test_top_columns_are_the_best_in_order(seed, n_columns, top, with_ties):
    top = min(top, n_columns)
    scores = torch.randn(3, n_columns, generator=torch.Generator().manual_seed(seed))
    if with_ties:
        scores = scores.round()
    columns = top_columns(scores, top)
    assert all(len(set(row)) == top for row in columns.tolist())
    assert torch.equal(scores.gather(1, columns), scores.topk(top, dim=1).values)


def test_triplet_margin_is_the_sum_over_negatives_of_the_hinge():
    torch.manual_seed(0)
    anchor, positive, negatives = torch.randn(4, 3), torch.randn(4, 3), torch.randn(4, 5, 3)
    total = 0.0
    for b in range(4):
        for k in range(5):
            gap = (anchor[b] - positive[b]).pow(2).sum().sqrt() - (anchor[b] - negatives[b, k]).pow(2).sum().sqrt()
            total += max(0.0, gap.item() + 0.5)
    assert triplet_margin(anchor, positive, negatives, 0.5).item() == pytest.approx(total / 4, rel=1e-5)


def test_triplet_margin_pulls_the_positive_and_pushes_the_negative():
    anchor, positive = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]], requires_grad=True)
    negative = torch.tensor([[[0.0, 1.0]]], requires_grad=True)
    triplet_margin(anchor, positive, negative, 0.5).backward()
    assert (positive - positive.grad).norm() < positive.norm()
    assert (negative - negative.grad).norm() > negative.norm()


def test_triplet_margin_without_negatives_or_at_distance_zero_is_harmless():
    anchor = torch.zeros(2, 3, requires_grad=True)
    assert triplet_margin(anchor, anchor, torch.zeros(2, 0, 3), 0.5) == 0
    triplet_margin(anchor, anchor * 1, torch.zeros(2, 1, 3), 0.5).backward()
    assert torch.isfinite(anchor.grad).all()


@given(st.integers(0, 300), st.integers(1, 300), st.integers(1, 20), st.integers(1, 50))
def test_window_fits_the_catalogue_and_holds_the_draw_where_it_can(low, width, n_negatives, n_candidates):
    new_low, new_high = clamp_window(low, low + width, n_negatives, n_candidates)
    assert 0 <= new_low < new_high <= n_candidates
    assert new_high - new_low >= min(n_negatives, width, n_candidates)
    if low + width <= n_candidates and width >= n_negatives:
        assert (new_low, new_high) == (low, low + width)


def test_draws_are_distinct_inside_the_window_and_reach_all_of_it():
    torch.manual_seed(0)
    ranked = torch.arange(100, 120).repeat(500, 1)
    drawn = draw_from_window(ranked, low=5, n_negatives=4)
    assert drawn.shape == (500, 4)
    assert all(len(set(row)) == 4 for row in drawn.tolist())
    assert set(drawn.flatten().tolist()) == set(range(105, 120))


def test_a_smooth_rank_is_the_rank_for_small_steps_and_moves_with_every_score():
    scores = torch.tensor([[3.0, 1.0, 2.0, 0.0], [0.0, 5.0, 1.0, 2.0]], dtype=torch.double, requires_grad=True)
    target = torch.tensor([2, 0])
    torch.testing.assert_close(smooth_rank(scores, target, 1e-3).detach(), torch.tensor([2.0, 4.0]).double())
    others = [[1.0, -1.0, -2.0], [5.0, 1.0, 2.0]]
    wanted = 1 + torch.sigmoid(torch.tensor(others).double() / 0.5).sum(1)
    torch.testing.assert_close(smooth_rank(scores, target, 0.5).detach(), wanted)
    assert torch.autograd.gradcheck(lambda scores: smooth_rank(scores, target, 0.5), scores)
