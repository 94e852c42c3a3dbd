"""Losses over a part of the catalogue: equal to the full softmax where the part is all, unbiased where it is not."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from recbole_tme.nn import sampled_losses
from recbole_tme.nn.sampled_losses import (
    bucketed_cross_entropy,
    draw,
    furthest_items,
    rank_in_subset,
    sampled_cross_entropy,
    strata,
    widths,
)


def problem(n_sessions=7, n_items=11, size=3):
    torch.manual_seed(0)
    sessions = torch.randn(n_sessions, size, dtype=torch.double, requires_grad=True)
    table = torch.randn(n_items + 1, size, dtype=torch.double, requires_grad=True)
    return sessions, table, torch.randint(1, n_items + 1, (n_sessions,))


def full_softmax(sessions, table, target):
    return F.cross_entropy(sessions @ table[1:].T, target - 1)


def masked_full_softmax(sessions, table, target, excluded, weight):
    """With unit item vectors, loop by loop."""
    total = 0.0
    for row, wanted in enumerate(target.tolist()):
        left = [item for item in range(1, len(table)) if item not in excluded[row].tolist()]
        scores = torch.stack([sessions[row] @ table[item] / table[item].norm() for item in left])
        total = total - weight[row] * scores.log_softmax(0)[left.index(wanted)]
    return total / len(target)


def gradients(loss, *inputs):
    return [g.to_dense() if g.is_sparse else g for g in torch.autograd.grad(loss, inputs)]


LOSSES = {
    "sampled": lambda s, t, y: sampled_cross_entropy(s, t, y, 11),
    "in batch": lambda s, t, y: sampled_cross_entropy(s, t, y, 50, torch.full((12,), 1 / 11)),
    "scalable": lambda s, t, y: bucketed_cross_entropy(s, t, y, 1, 7, 11),
    "several buckets of all": lambda s, t, y: bucketed_cross_entropy(s, t, y, 3, 100, 100),
}


@pytest.mark.parametrize("name", LOSSES)
def test_with_the_whole_catalogue_drawn_it_is_the_full_softmax(name):
    sessions, table, target = problem()
    loss, expected = LOSSES[name](sessions, table, target), full_softmax(sessions, table, target)
    torch.testing.assert_close(loss, expected)
    ours, theirs = gradients(3 * loss, sessions, table), gradients(3 * expected, sessions, table)
    torch.testing.assert_close(ours, theirs)
    assert not ours[1][0].any(), "the padding row must not move"


@pytest.mark.parametrize("share", [None, torch.full((12,), 1 / 11)], ids=["uniform", "in batch"])
def test_left_out_items_weights_and_unit_vectors_are_those_of_the_full_softmax(share):
    sessions, table, target = problem()
    excluded = torch.stack([target % 11 + 1, (target + 4) % 11 + 1, torch.zeros_like(target)], dim=1)
    excluded[2] = 0
    weight = torch.rand(7, dtype=torch.double)
    loss = sampled_cross_entropy(sessions, table, target, 11, share, excluded, weight, unit=True)
    expected = masked_full_softmax(sessions, table, target, excluded, weight)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients(loss, sessions, table), gradients(expected, sessions, table))


def test_a_left_out_item_that_is_not_drawn_takes_nothing_with_it():
    sessions, table, target = problem()
    target[target == 11] = 1
    torch.manual_seed(4)
    assert 11 not in draw(strata(11, 2))
    absent = torch.full((7, 3), 11)
    absent[:, 1] = 0
    losses = []
    for excluded in (None, absent):
        torch.manual_seed(4)
        losses.append(sampled_cross_entropy(sessions, table, target, 2, excluded=excluded))
    torch.testing.assert_close(*losses)


class Dense(torch.autograd.Function):
    """The identity, with a gradient that gradcheck can read."""

    @staticmethod
    def forward(ctx, table):
        return table.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.to_dense()


SMALLER = {
    "sampled": lambda s, t, y: sampled_cross_entropy(s, t, y, 4),
    "in batch": lambda s, t, y: sampled_cross_entropy(s, t, y, 4, torch.full((len(t),), 1 / 11)),
    "unit, some left out": lambda s, t, y: sampled_cross_entropy(
        s, t, y, 4, excluded=(y % 11 + 1).unsqueeze(1), weight=torch.linspace(0, 1, len(y)), unit=True
    ),
    "scalable": lambda s, t, y: bucketed_cross_entropy(s, t, y, 3, 4, 5),
}


@pytest.mark.parametrize("name", SMALLER)
def test_passes_gradcheck(name):
    sessions, table, target = problem()

    def repeatable(sessions, table):
        torch.manual_seed(1)
        return SMALLER[name](sessions, Dense.apply(table), target)

    assert torch.autograd.gradcheck(repeatable, (sessions, table))


@pytest.mark.parametrize("name", SMALLER)
def test_only_rows_that_took_part_have_a_gradient(name):
    sessions, _, target = problem()
    table = torch.randn(1001, 3, dtype=torch.double, requires_grad=True)
    SMALLER[name](sessions, table, target).backward()
    assert table.grad.is_sparse
    rows = table.grad.coalesce().indices()[0].tolist()
    assert set(target.tolist()) <= set(rows) and 0 not in rows and len(rows) <= 7 + 3 * 5


def every_draw(n_items, n):
    """Each of the equally likely outcomes of a draw."""
    bounds = strata(n_items, n).tolist()
    runs = [range(low, high) for low, high in itertools.pairwise(bounds)]
    return [torch.tensor(outcome) for outcome in itertools.product(*runs)]


def test_the_corrected_sum_of_exponentials_and_its_gradient_are_unbiased(monkeypatch):
    sessions, table, target = problem(n_sessions=1, n_items=8)
    outcomes = every_draw(8, 3)
    # Runs of 2, 3 and 3 items: the correction differs from item to item.
    assert len(outcomes) == 2 * 3 * 3
    values, slopes = [], []
    for outcome in outcomes:
        monkeypatch.setattr(sampled_losses, "draw", lambda bounds, outcome=outcome: outcome)
        score = (sessions * table[target]).sum()
        total = (sampled_cross_entropy(sessions, table, target, 3) + score).exp()
        values.append(total.detach())
        slopes.append(gradients(total, table)[0])
    exact = (sessions @ table[1:].T).exp().sum()
    torch.testing.assert_close(torch.stack(values).mean(), exact.detach())
    torch.testing.assert_close(torch.stack(slopes).mean(0), gradients(exact, table)[0])


def test_in_batch_negatives_are_corrected_for_how_often_they_are_targets():
    """Over random batches, the mean of the sum of exponentials is the catalogue's: popular targets do not dominate."""
    sessions, table, _ = problem(n_sessions=1, n_items=8)
    share = torch.tensor([0, 0.5, 0.2, 0.1, 0.1, 0.05, 0.05, 0, 0], dtype=torch.double)
    first = torch.tensor([3])
    generator = torch.Generator().manual_seed(0)
    exact = (sessions @ table[1:].T).exp().sum().item()
    found, uncorrected = [], []
    only_first = torch.tensor([6.0, 0, 0, 0, 0, 0], dtype=torch.double)
    for _ in range(1500):
        others = torch.multinomial(share, 5, replacement=True, generator=generator)
        target = torch.cat([first, others])
        batch = torch.cat([sessions, torch.zeros(5, 3, dtype=torch.double)])
        for share_told, results in ((share, found), (torch.zeros_like(share), uncorrected)):
            torch.manual_seed(len(results))
            of_first = sampled_cross_entropy(batch, table, target, 2, share_told, weight=only_first)
            results.append(math.exp(of_first.item() + (sessions @ table[first].T).item()))
    mean, error = torch.tensor(found).mean().item(), torch.tensor(found).std().item() / 1500**0.5
    assert abs(mean - exact) < 4 * error
    assert torch.tensor(uncorrected).mean() > exact + 6 * error


def test_the_expected_gradient_is_near_the_full_softmaxs_and_nearer_than_without_correction(monkeypatch):
    sessions, table, target = problem(n_sessions=2, n_items=8)
    table = (table.detach() / 4).requires_grad_()
    exact = gradients(full_softmax(sessions, table, target), table)[0]

    def expected(bias):
        if not bias:
            monkeypatch.setattr(sampled_losses, "widths", lambda bounds: torch.ones_like(bounds[1:]))
        total = torch.zeros_like(table)
        for outcome in every_draw(8, 4):
            monkeypatch.setattr(sampled_losses, "draw", lambda bounds, outcome=outcome: outcome)
            total += gradients(sampled_cross_entropy(sessions, table, target, 4), table)[0]
        return total / len(every_draw(8, 4))

    corrected, plain = (expected(bias) for bias in (True, False))
    assert (corrected - exact).norm() < 0.06 * exact.norm()
    assert (corrected - exact).norm() < 0.5 * (plain - exact).norm()


def test_a_target_that_is_drawn_is_no_negative_of_its_own_session_and_counts_once(monkeypatch):
    sessions, table, _ = problem()
    target = torch.tensor([2, 2, 5, 7, 7, 7, 1])
    drawn = torch.tensor([2, 5, 9])
    monkeypatch.setattr(sampled_losses, "strata", lambda n_items, n, device: torch.tensor([1, 4, 8, 12]))
    monkeypatch.setattr(sampled_losses, "draw", lambda bounds: drawn)
    loss = sampled_cross_entropy(sessions, table, target, 3)
    scores, width = (sessions @ table.T).tolist(), {2: 3, 5: 4, 9: 4}
    expected = 0.0
    for row, wanted in enumerate(target.tolist()):
        terms = [scores[row][wanted]]
        terms += [scores[row][item] + math.log(width[item]) for item in drawn.tolist() if item != wanted]
        expected += math.log(sum(map(math.exp, terms))) - scores[row][wanted]
    assert loss.item() == pytest.approx(expected / 7)


def test_bucketed_loss_against_loops():
    sessions, table, target = problem()
    torch.manual_seed(5)
    loss = bucketed_cross_entropy(sessions, table, target, 3, 3, 5)
    torch.manual_seed(5)
    directions = (torch.randn(3, 7, dtype=torch.double) @ sessions).tolist()
    scores = (sessions @ table.T).tolist()

    def reach(direction, vectors, first):
        along = {i: sum(a * b for a, b in zip(direction, v)) for i, v in enumerate(vectors.tolist()) if i >= first}
        return sorted(along, key=along.get, reverse=True)

    largest = {}
    for direction in directions:
        items = reach(direction, table, 1)[:5]
        for row in reach(direction, sessions, 0)[:3]:
            wanted = target[row].item()
            rivals = [scores[row][item] for item in items if item != wanted]
            value = math.log(sum(map(math.exp, [scores[row][wanted], *rivals]))) - scores[row][wanted]
            largest[row] = max(largest.get(row, 0.0), value)
    assert len(largest) < 7, "some sessions must be in no bucket"
    assert loss.item() == pytest.approx(sum(largest.values()) / len(largest))


def test_furthest_items_are_found_in_parts_and_never_padding(monkeypatch):
    directions, table = torch.randn(5, 3), torch.randn(12, 3)
    table[0] = 100 * directions.sum(0)
    whole = furthest_items(directions, table, 4)
    monkeypatch.setattr(sampled_losses, "BUCKET_CHUNK", 13)
    assert torch.equal(furthest_items(directions, table, 4), whole)
    expected = [sorted(range(1, 12), key=lambda i: -(d @ table[i]).item())[:4] for d in directions]
    assert whole.tolist() == expected


@pytest.mark.parametrize("name", SMALLER)
def test_survives_extreme_scores_and_a_batch_of_one(name):
    sessions, table, target = problem()
    assert torch.isfinite(SMALLER[name](sessions * 1e4, table, target))
    assert torch.isfinite(SMALLER[name](sessions[:1], table, target[:1]))


@given(st.integers(1, 500), st.integers(1, 600))
def test_strata_cover_the_catalogue_evenly_and_draws_are_distinct(n_items, n):
    bounds = strata(n_items, n)
    assert bounds[0] == 1 and bounds[-1] == n_items + 1 and len(bounds) == min(n, n_items) + 1
    assert widths(bounds).max() - widths(bounds).min() <= 1
    drawn = draw(bounds)
    assert (drawn >= bounds[:-1]).all() and (drawn < bounds[1:]).all()
    assert len(drawn.unique()) == len(drawn)


def test_every_item_of_a_run_is_drawn_equally_often():
    torch.manual_seed(0)
    bounds = strata(7, 2)
    counts = torch.stack([draw(bounds) for _ in range(6000)]).flatten().bincount(minlength=8)
    expected = torch.tensor([0, *[6000 / 3] * 3, *[6000 / 4] * 4])
    assert ((counts - expected).abs() < 200).all(), counts


def test_ranking_in_a_subset_of_all_items_is_the_ranking():
    sessions, table, target = problem()
    ranked = rank_in_subset(sessions, table, target, 11, 10)
    scores = (sessions @ table.T).tolist()
    for row, wanted in enumerate(target.tolist()):
        others = [item for item in range(1, 12) if item != wanted]
        assert ranked[row].tolist() == sorted(others, key=lambda item: -scores[row][item])


def test_ranking_in_a_subset_keeps_to_it_and_leaves_the_target_out():
    sessions, table, target = problem(n_sessions=40, n_items=60)
    ranked = rank_in_subset(sessions, table, target, 20, 19)
    assert len(ranked.unique()) <= 20
    assert (ranked > 0).all() and not (ranked == target.unsqueeze(1)).any() and not ranked.requires_grad
