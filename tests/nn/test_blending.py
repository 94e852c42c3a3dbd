"""Mixed chances: what they add up to, and the weights under which the targets rank best."""

import pytest
import torch

from recbole_tme.nn.blending import (
    Candidates,
    candidate_ranks,
    mix_chances,
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
    torch.testing.assert_close(mix_chances([part], torch.ones(3, 1), SESSIONS), chances, rtol=0, atol=1e-6)
    torch.testing.assert_close(part.repeat, torch.stack([chances[0, [3, 5]].sum(), chances[1, 1]]))
    for target in (3, 7):
        torch.testing.assert_close(part.of(SESSIONS, torch.full((2,), target)), chances[:, target])


def test_the_parts_are_mixed_as_a_loop_mixes_them():
    a, b = some_chances(0), some_chances(1)
    weights = torch.tensor([[0.9, 0.1], [0.3, 0.7], [0.25, 0.75]])
    mixed = mix_chances([split_chances(a, SESSIONS), split_chances(b, SESSIONS)], weights, SESSIONS)
    for row, session in enumerate(SESSIONS.tolist()):
        own = sorted({item for item in session if item})
        new = [item for item in range(1, 10) if item not in own]
        repeat = sum(float(w * each[row, own].sum()) for w, each in zip(weights[0], (a, b)))
        for items, (one, other), mass in ((own, weights[1].tolist(), repeat), (new, weights[2].tolist(), 1 - repeat)):
            given = [each[row, items] / each[row, items].sum() for each in (a, b)]
            products = [float(x) ** one * float(y) ** other for x, y in zip(*given)]
            wanted = torch.tensor([mass * product / sum(products) for product in products])
            torch.testing.assert_close(mixed[row, items], wanted, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(mixed.sum(1), torch.ones(2))
    assert mixed[:, 0].tolist() == [0, 0]


def test_a_model_that_says_nothing_of_the_new_items_leaves_them_at_nothing():
    chances = torch.zeros(2, 10)
    chances[0, 3] = 2.0
    mixed = mix_chances([split_chances(chances, SESSIONS)], torch.ones(3, 1), SESSIONS)
    assert mixed[0, 3] == pytest.approx(1) and mixed[0, [1, 2, 4]].tolist() == [0, 0, 0]
    # Of the second session it says nothing at all.
    assert mixed[1, 2:].tolist() == pytest.approx([1 / 8] * 8)


def some_candidates(seed, n=50, c=6, m=3):
    generator = torch.Generator().manual_seed(seed)
    chance, repeat = torch.rand(n, c, m, generator=generator), torch.rand(n, m, generator=generator)
    # Some chances are 0 and some are equal, as those of lists without training are.
    chance = (chance * 5).floor() / 5
    is_own, counts = torch.rand(n, c, generator=generator) < 0.3, torch.rand(n, c, generator=generator) < 0.8
    # What is said of the session's items, and of the others, adds up to .9 at most.
    for part in (is_own & counts, ~is_own & counts):
        chance[part] *= (0.9 / (chance * part.unsqueeze(2)).sum(1, keepdim=True).clamp(min=0.9)).expand_as(chance)[part]
    return Candidates(repeat, chance, is_own, counts)


def reciprocal(ranks):
    return float((1 / ranks).mean())


def test_the_ranks_of_candidates_are_those_of_the_mixture_where_all_items_are_candidates():
    generator = torch.Generator().manual_seed(3)
    sessions = torch.randint(0, 9, (40, 4), generator=generator).sort(1, descending=True).values.clamp(max=8)
    sessions[:, 0].clamp_(min=1)
    chances = [torch.rand(40, 13, generator=generator).square() for _ in range(3)]
    # Of the last item every second session hears from nobody, as from lists without training; two items are twins.
    for each in chances:
        each[::2, 12] = 0
        each[:, 11] = each[:, 10]
    parts = [split_chances(each, sessions) for each in chances]
    weights = torch.rand(3, 3, generator=generator)
    weights /= weights.sum(1, keepdim=True)
    target = torch.randint(1, 13, (40, 1), generator=generator)
    items = torch.cat([target, torch.arange(1, 13).expand(40, -1)], 1)
    is_own = (items.unsqueeze(2) == sessions.unsqueeze(1)).any(2)
    own = [torch.zeros(40, 13).scatter_(1, sessions, part.own) for part in parts]
    chance = [torch.where(is_own, o.gather(1, items), p.new.gather(1, items)) for o, p in zip(own, parts)]
    counts = torch.cat([torch.ones(40, 1, dtype=torch.bool), items[:, 1:] != target], 1)
    candidates = Candidates(torch.stack([p.repeat for p in parts], 1), torch.stack(chance, 2), is_own, counts)
    mixed = mix_chances(parts, weights, sessions)[:, 1:]
    of_target = mixed.gather(1, target - 1)
    close = torch.isclose(mixed, of_target, rtol=1e-4)
    wanted = 1 + ((mixed > of_target) & ~close).sum(1) + (close.sum(1) - 1) / 2
    ranks = candidate_ranks(candidates)(weights)
    assert (wanted % 1 == 0.5).any()
    assert (ranks == wanted).float().mean() > 0.95
    assert (ranks - wanted).abs().max() <= 0.5


def test_items_that_are_no_candidates_take_their_share():
    """One session, two models that agree: an item of the session has .3, the new target .7 times .4, and others share
    the rest of what is new."""
    candidates = Candidates(
        torch.full((1, 2), 0.3),
        torch.tensor([[[0.4, 0.4], [1.0, 1.0]]]),
        torch.tensor([[False, True]]),
        torch.ones(1, 2, dtype=torch.bool),
    )
    weights = torch.full((3, 2), 0.5)
    assert candidate_ranks(candidates)(weights).item() == 2
    candidates.chance[0, 0] = 0.5
    assert candidate_ranks(candidates)(weights).item() == 1


@pytest.mark.parametrize("seed", range(5))
def test_the_weights_found_are_worth_no_less_than_any_start(seed):
    candidates = some_candidates(seed)
    starts = list(torch.rand(4, 3, 3, generator=torch.Generator().manual_seed(seed)))
    starts = [start / start.sum(1, keepdim=True) for start in starts]
    found = searched_weights(candidates, reciprocal, starts)
    torch.testing.assert_close(found.sum(1), torch.ones(3))
    assert found.min() >= 0
    worth = [reciprocal(candidate_ranks(candidates)(start)) for start in starts]
    assert reciprocal(candidate_ranks(candidates)(found)) > max(worth)


def test_weights_that_complement_each_other_are_found_row_by_row():
    """One member knows when items are repeated, one which of the session's items comes next, one which new item."""
    n, generator = 300, torch.Generator().manual_seed(2)
    is_own = torch.zeros(n, 8, dtype=torch.bool)
    is_repeat = torch.rand(n, generator=generator) < 0.5
    is_own[is_repeat, :3], is_own[~is_repeat, 5:] = True, True
    repeat = torch.full((n, 3), 0.5)
    repeat[:, 0] = torch.where(is_repeat, 0.95, 0.05)
    # Who does not know puts the target last, who knows gives it half of what there is.
    chance = torch.rand(n, 8, 3, generator=generator) + 0.1
    chance[:, 0] = 0.01
    for part in (is_own, ~is_own):
        chance = torch.where(part.unsqueeze(2), chance / (chance * part.unsqueeze(2)).sum(1, keepdim=True), chance)
    for rows, member in ((is_repeat, 1), (~is_repeat, 2)):
        chance[rows, :, member] /= 2
        chance[rows, 0, member] = 0.5
    candidates = Candidates(repeat, chance, is_own, torch.ones_like(is_own))
    found = searched_weights(candidates, reciprocal, [torch.full((3, 3), 1 / 3)])
    assert found.argmax(1).tolist() == [0, 1, 2]
    assert reciprocal(candidate_ranks(candidates)(found)) > 0.95


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
