"""Mixed chances: what they add up to, and the weights that make what happened likeliest."""

import pytest
import torch

from recbole_tme.nn.blending import (
    Candidates,
    candidate_ranks,
    mix_chances,
    mixture_weights,
    searched_weights,
    split_chances,
)

SESSIONS = torch.tensor([[3, 5, 3, 0], [1, 0, 0, 0]])


def some_chances(seed, n_items=9):
    scores = torch.rand(2, n_items + 1, generator=torch.Generator().manual_seed(seed))
    scores[:, 0] = 0
    return scores / scores.sum(1, keepdim=True)


def test_a_blend_of_one_is_that_one():
    chances = some_chances(0)
    part = split_chances(chances, SESSIONS)
    torch.testing.assert_close(mix_chances([part], torch.ones(3, 1), SESSIONS), chances)
    torch.testing.assert_close(part.repeat, torch.stack([chances[0, [3, 5]].sum(), chances[1, 1]]))
    for target in (3, 7):
        both = part.of(SESSIONS, torch.full((2,), target))
        torch.testing.assert_close(both.prod(1), chances[:, target])


def test_own_and_new_items_have_weights_of_their_own():
    a, b = some_chances(0), some_chances(1)
    parts = [split_chances(a, SESSIONS), split_chances(b, SESSIONS)]
    weights = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.25, 0.75]])
    mixed = mix_chances(parts, weights, SESSIONS)
    torch.testing.assert_close(mixed.sum(1), torch.ones(2))
    own, new = [3, 5], [1, 2, 4, 6, 7, 8, 9]
    torch.testing.assert_close(mixed[0, own].sum(), a[0, own].sum())
    torch.testing.assert_close(mixed[0, 3] / mixed[0, 5], b[0, 3] / b[0, 5])
    given = 0.25 * a[0, new] / a[0, new].sum() + 0.75 * b[0, new] / b[0, new].sum()
    torch.testing.assert_close(mixed[0, new], (1 - a[0, own].sum()) * given)


def test_a_model_that_says_nothing_of_the_new_items_leaves_them_at_nothing():
    chances = torch.zeros(2, 10)
    chances[0, 3] = 2.0
    mixed = mix_chances([split_chances(chances, SESSIONS)], torch.ones(3, 1), SESSIONS)
    assert mixed[0, 3] == 1 and mixed.sum() == 1


def test_the_weights_are_those_under_which_what_happened_is_likeliest():
    chances = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)).double()
    chances[:, 1] += 0.3
    weights = mixture_weights(chances)
    best = (chances @ weights).log().sum()
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0).double())
    for other in torch.rand(200, 3, generator=torch.Generator().manual_seed(1)).double():
        assert (chances @ (other / other.sum())).log().sum() <= best + 1e-6


def test_what_nobody_expected_and_nothing_at_all_teach_nothing():
    assert mixture_weights(torch.zeros(0, 2)).tolist() == [0.5, 0.5]
    chances = torch.tensor([[0.9, 0.1], [0.8, 0.1], [0.0, 0.2]])
    more = torch.cat([chances, torch.zeros(50, 2)])
    torch.testing.assert_close(mixture_weights(more), mixture_weights(chances))


def some_candidates(seed, n=50, c=6, m=3):
    generator = torch.Generator().manual_seed(seed)
    chance, repeat = torch.rand(n, c, m, generator=generator), torch.rand(n, m, generator=generator)
    # Some chances are 0 and some are equal, as those of lists without training are.
    chance = (chance * 5).floor() / 5
    return Candidates(
        repeat, chance, torch.rand(n, c, generator=generator) < 0.3, torch.rand(n, c, generator=generator) < 0.8
    )


def reciprocal(ranks):
    return float((1 / ranks).mean())


def test_the_ranks_of_candidates_are_those_of_a_loop():
    candidates = some_candidates(0)
    candidates.counts[:, 0] = True
    candidates.chance[::2, 1], candidates.is_own[::2, 1] = candidates.chance[::2, 0], candidates.is_own[::2, 0]
    weights = torch.rand(3, 3, generator=torch.Generator().manual_seed(1))
    weights /= weights.sum(1, keepdim=True)
    seen = []
    for session in range(50):
        mixed = []
        repeat = sum(float(weights[0, m] * candidates.repeat[session, m]) for m in range(3))
        for item in range(6):
            own = bool(candidates.is_own[session, item])
            given = sum(float(weights[1 if own else 2, m] * candidates.chance[session, item, m]) for m in range(3))
            mixed.append((repeat if own else 1 - repeat) * given)
        others = [mixed[item] for item in range(1, 6) if candidates.counts[session, item]]
        equal = [abs(other - mixed[0]) < 1e-6 for other in others]
        better = sum(other > mixed[0] and not same for other, same in zip(others, equal))
        seen.append(1 + better + sum(equal) / 2 if mixed[0] > 0 else torch.inf)
    ranks = candidate_ranks(candidates, weights)
    assert ranks.isinf().any() and (ranks % 1 == 0.5).any()
    torch.testing.assert_close(ranks, torch.tensor(seen))


@pytest.mark.parametrize("seed", range(5))
def test_the_weights_found_are_worth_no_less_than_any_start(seed):
    candidates = some_candidates(seed)
    starts = list(torch.rand(4, 3, 3, generator=torch.Generator().manual_seed(seed)))
    starts = [start / start.sum(1, keepdim=True) for start in starts]
    found = searched_weights(candidates, reciprocal, starts)
    torch.testing.assert_close(found.sum(1), torch.ones(3))
    assert found.min() >= 0
    worth = [reciprocal(candidate_ranks(candidates, start)) for start in starts]
    assert reciprocal(candidate_ranks(candidates, found)) > max(worth)


def test_the_weights_found_leave_a_member_that_is_likely_and_ranks_badly():
    """Two members on 200 sessions: one puts the target first, mostly, and gives nothing to the others; the other gives
    a little to every target, behind five items that are wrong."""
    n, generator = 200, torch.Generator().manual_seed(0)
    sharp, broad = torch.zeros(n, 10), torch.full((n, 10), 0.02)
    knows = torch.rand(n, generator=generator) < 0.4
    sharp[knows, 0], sharp[~knows, 1] = 1.0, 1.0
    broad[:, 4:9] = 0.18
    chance = torch.stack([sharp, broad], 2)
    zeros = torch.zeros(n, 10, dtype=torch.bool)
    candidates = Candidates(torch.zeros(n, 2), chance, zeros, ~zeros)
    likeliest = mixture_weights(chance[:, 0]).float().expand(3, 2)
    # The broad member puts the targets it knows behind five items; in a mixture with a tenth of it, only its own.
    found = searched_weights(candidates, reciprocal, [likeliest])
    ranks = candidate_ranks(candidates, found)
    assert (ranks[knows] == 1).all() and ranks[~knows].isfinite().all()
    assert reciprocal(ranks) >= reciprocal(candidate_ranks(candidates, likeliest))


def test_weights_that_complement_each_other_are_found_row_by_row():
    """One member knows when items are repeated, one which of the session's items comes next, one which new item."""
    n, generator = 300, torch.Generator().manual_seed(2)
    is_own = torch.zeros(n, 8, dtype=torch.bool)
    is_repeat = torch.rand(n, generator=generator) < 0.5
    is_own[is_repeat, :3], is_own[~is_repeat, 5:] = True, True
    repeat = torch.full((n, 3), 0.5)
    repeat[:, 0] = torch.where(is_repeat, 0.95, 0.05)
    chance = torch.rand(n, 8, 3, generator=generator)
    chance[:, 0] = 0.0
    chance[is_repeat, 0, 1], chance[~is_repeat, 0, 2] = 1.0, 1.0
    candidates = Candidates(repeat, chance, is_own, torch.ones_like(is_own))
    found = searched_weights(candidates, reciprocal, [torch.full((3, 3), 1 / 3)])
    assert found.argmax(1).tolist() == [0, 1, 2]
    assert reciprocal(candidate_ranks(candidates, found)) > 0.95


def test_what_does_not_count_does_not_move_the_weights():
    candidates = some_candidates(1)
    more = Candidates(
        candidates.repeat,
        torch.cat([candidates.chance, torch.rand(50, 2, 3)], 1),
        *(torch.nn.functional.pad(each, (0, 2)) for each in candidates[2:]),
    )
    start = [torch.full((3, 3), 1 / 3)]
    found = searched_weights(candidates, reciprocal, start)
    assert torch.equal(searched_weights(more, reciprocal, start), found) and not torch.equal(found, start[0])
