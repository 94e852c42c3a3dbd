"""Attacks on an item table: they raise the loss as theory says, stay in their ball and leave padding alone."""

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from recbole_tme.nn.adversarial import add_gradients, ascend, fgm, fgsm, free, output_attack, pgd, with_gradient
from recbole_tme.utils.randomness import replaying, rng_state, set_rng_state

SHAPE = (9, 4)
NORMS = ("table", "row")


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def norms(delta: torch.Tensor, norm: str) -> list[float]:
    """The norms that the ball bounds, number by number."""
    rows = [math.sqrt(sum(float(x) ** 2 for x in row)) for row in delta]
    return rows if norm == "row" else [math.sqrt(sum(size**2 for size in rows))]


def curved_loss(table: torch.Tensor) -> torch.Tensor:
    """Cross entropy of a few sessions that read the table and are scored by it."""
    sessions = torch.tanh(table[torch.tensor([1, 2, 3, 8])] + table[torch.tensor([4, 2, 5, 1])])
    return F.cross_entropy(sessions @ table[1:].T, torch.tensor([4, 0, 6, 2]))


def gradient_of(loss, table: torch.Tensor) -> torch.Tensor:
    leaf = table.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf), leaf)[0]


@given(seed=st.integers(0, 10**6), epsilon=st.floats(1e-3, 100.0))
@settings(max_examples=30, deadline=None)
def test_one_step_attacks_are_the_worst_to_first_order(seed, epsilon):
    gradient = draw(seed, *SHAPE)
    inner = gradient[1:]
    expected = {
        "table": epsilon * math.sqrt(float((inner**2).sum())),
        "row": epsilon * sum(norms(inner, "row")),
        "sign": epsilon * float(inner.abs().sum()),
    }
    found = {norm: fgm(gradient, epsilon, norm) for norm in NORMS} | {"sign": fgsm(gradient, epsilon)}
    for norm, delta in found.items():
        assert float((delta * gradient).sum()) == pytest.approx(expected[norm])
        assert not delta[0].any()
    for norm in NORMS:
        assert max(norms(found[norm], norm)) == pytest.approx(epsilon)
    assert float(found["sign"].abs().max()) == pytest.approx(epsilon)


@pytest.mark.parametrize("norm", [*NORMS, "sign"])
def test_the_loss_grows_along_the_perturbation_at_the_predicted_rate(norm):
    table, step = draw(0, *SHAPE), 1e-6
    gradient = gradient_of(curved_loss, table)
    delta = fgsm(gradient, 1.0) if norm == "sign" else fgm(gradient, 1.0, norm)
    growth = (curved_loss(table + step * delta) - curved_loss(table - step * delta)) / (2 * step)
    items = gradient[1:]
    rate = {"sign": items.abs().sum(), "table": items.norm(), "row": items.norm(dim=1).sum()}[norm]
    torch.testing.assert_close(growth, rate, rtol=1e-6, atol=0)


def test_no_gradient_no_perturbation():
    gradient = torch.zeros(SHAPE)
    gradient[0] = 5.0
    for delta in (
        fgm(gradient, 1.0),
        fgm(gradient, 1.0, "row"),
        fgsm(gradient, 1.0),
        ascend(gradient * 0, gradient, 1, 1),
    ):
        assert torch.equal(delta, torch.zeros(SHAPE))
    gradient[3] = 2.0
    assert fgm(gradient, 1.0, "row").nonzero()[:, 0].unique().tolist() == [3]


@given(seed=st.integers(0, 10**6), epsilon=st.floats(0.01, 5.0), step=st.floats(0.01, 5.0), norm=st.sampled_from(NORMS))
@settings(max_examples=40, deadline=None)
def test_a_step_ends_at_the_nearest_point_of_the_ball(seed, epsilon, step, norm):
    delta, gradient = fgm(draw(seed, *SHAPE), epsilon / 2, norm), draw(seed + 1, *SHAPE)
    before = delta.clone(), gradient.clone()
    after = ascend(delta, gradient, epsilon, step, norm)
    assert torch.equal(delta, before[0]) and torch.equal(gradient, before[1])
    free_step = delta + fgm(gradient, step, norm)
    pieces = zip(free_step, after) if norm == "row" else [(free_step, after)]
    for moved, projected in pieces:
        size = float(moved.norm())
        torch.testing.assert_close(projected, moved if size <= epsilon else moved * epsilon / size)
    assert max(norms(after, norm)) <= epsilon * (1 + 1e-12) and not after[0].any()


@pytest.mark.parametrize("norm", NORMS)
def test_pgd_is_a_loop_of_steps_that_reuses_the_clean_gradient(norm):
    table, asked = draw(1, *SHAPE), []

    def gradient_at(delta):
        asked.append(delta)
        return gradient_of(curved_loss, table + delta)

    found = pgd(gradient_of(curved_loss, table), gradient_at, 1.0, 0.3, 5, norm)
    delta = torch.zeros(SHAPE, dtype=torch.float64)
    for _ in range(5):
        gradient = gradient_of(curved_loss, table + delta)
        gradient[0] = 0
        sizes = gradient.norm(dim=1, keepdim=True) if norm == "row" else gradient.norm()
        delta = delta + 0.3 * torch.nan_to_num(gradient / sizes)
        sizes = delta.norm(dim=1, keepdim=True) if norm == "row" else delta.norm()
        delta = torch.where(sizes > 1, delta / sizes, delta)
    torch.testing.assert_close(found, delta)
    assert len(asked) == 4
    one_step = fgm(gradient_of(curved_loss, table), 1.0, norm)
    assert curved_loss(table + found) > curved_loss(table + one_step) > curved_loss(table)


def test_free_visits_the_path_of_pgd_once_each():
    table, visited = draw(2, *SHAPE), []

    def visit(delta):
        visited.append(delta)
        return gradient_of(curved_loss, table + delta)

    clean = gradient_of(curved_loss, table)
    free(clean, visit, 1.0, 0.3, 3)
    assert len(visited) == 3
    for steps, delta in enumerate(visited, start=1):
        path = pgd(clean, lambda delta: gradient_of(curved_loss, table + delta), 1.0, 0.3, steps)
        assert torch.equal(delta, path)


# The closed form


def attacked(sessions, table, target, epsilon):
    scores = sessions @ table.T
    others = scores.scatter(1, target.unsqueeze(1), -torch.inf)
    return output_attack(others, scores.gather(1, target.unsqueeze(1)).squeeze(1), epsilon * sessions.norm(dim=1))


def test_closed_form_equals_numeric_maximisation_over_the_targets_vector():
    sessions, table, epsilon = draw(3, 6, 4), draw(4, *SHAPE), 0.7
    target = torch.tensor([1, 8, 3, 3, 5, 2])
    worst = []
    for session, item in zip(sessions, target):
        delta = torch.full((4,), 1e-3, dtype=torch.float64)
        for _ in range(300):
            leaf = delta.clone().requires_grad_()
            scores = table @ session + F.one_hot(item, len(table)) * (leaf @ session)
            loss = F.cross_entropy(scores, item)
            delta = delta + torch.autograd.grad(loss, leaf)[0]
            delta = delta * min(1.0, epsilon / float(delta.norm()))
        worst.append(loss.detach())
    clean, found = attacked(sessions, table, target, epsilon)
    torch.testing.assert_close(clean, F.cross_entropy(sessions @ table.T, target))
    torch.testing.assert_close(found, torch.stack(worst).mean())


def test_closed_form_has_the_gradients_of_its_value():
    sessions, table = draw(5, 3, 4).requires_grad_(), draw(6, *SHAPE).requires_grad_()
    target = torch.tensor([1, 8, 3])
    assert torch.autograd.gradcheck(lambda s, t: attacked(s, t, target, 0.5), (sessions, table))


@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
def test_closed_form_stays_finite_where_the_target_has_won_or_lost(size):
    table = torch.eye(4) * size
    sessions = torch.cat([table[:2], -table[:2]]).requires_grad_()
    losses = attacked(sessions, table, torch.tensor([0, 1, 0, 1]), 30.0)
    sum(losses).backward()
    assert torch.isfinite(torch.stack(losses)).all() and torch.isfinite(sessions.grad).all()


# Gradients that are known


def test_a_known_gradient_reaches_its_parameters():
    first, second, idle = (torch.ones(3, requires_grad=True) for _ in range(3))
    loss = with_gradient(torch.tensor(7.0), [first, second, idle], [torch.arange(3.0), torch.full((3,), 2.0), None])
    assert float(loss) == 7.0
    (3 * loss + first.sum()).backward()
    assert first.grad.tolist() == [1.0, 4.0, 7.0] and second.grad.tolist() == [6.0] * 3 and idle.grad is None


def test_gradients_are_added_and_none_is_zero():
    a, b = torch.tensor([1.0]), torch.tensor([10.0])
    sums = add_gradients([a, a, None, None], [b, None, b, None], 0.5)
    assert [None if s is None else float(s) for s in sums] == [6.0, 1.0, 5.0, None]
    assert float(a) == 1.0 and float(b) == 10.0


# Randomness


def draw_from_each_generator() -> list:
    return [torch.rand(2).tolist(), np.random.rand(2).tolist(), random.random()]


def test_a_replay_draws_the_same_and_leaves_no_trace():
    state = rng_state()
    first = draw_from_each_generator()
    now = rng_state()
    following = draw_from_each_generator()
    for start, expected in ((state, first), (now, following), (state, first)):
        with replaying(start):
            assert draw_from_each_generator() == expected
    set_rng_state(now)
    with pytest.raises(ValueError, match="inside"), replaying(state):
        draw_from_each_generator()
        raise ValueError("inside")
    assert draw_from_each_generator() == following
