"""Mixed chances: what they add up to, and the weights that make what happened likeliest."""

import torch

from recbole_tme.nn.blending import Candidates, mix_chances, mixture_weights, ranked_weights, split_chances

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


def test_the_ranked_weights_leave_a_member_that_is_likely_and_ranks_badly():
    """Two members on 200 sessions: one puts the target first, mostly, and gives nothing to the others; the other gives
    a little to every target, behind five items that are wrong."""
    n, generator = 200, torch.Generator().manual_seed(0)
    sharp, broad = torch.zeros(n, 10), torch.full((n, 10), 0.02)
    knows = torch.rand(n, generator=generator) < 0.7
    sharp[knows, 0], sharp[~knows, 1] = 1.0, 1.0
    broad[:, 4:9] = 0.18
    chance = torch.stack([sharp, broad], 2)
    zeros = torch.zeros(n, 10, dtype=torch.bool)
    candidates = Candidates(torch.zeros(n, 2), chance, zeros, ~zeros)

    def log_rank(weights):
        mixed = chance @ weights
        return (1 + (mixed > mixed[:, :1]).sum(1)).float().log().mean()

    likeliest = mixture_weights(chance[:, 0]).float()
    weights = ranked_weights(candidates, likeliest.expand(3, 2))
    torch.testing.assert_close(weights.sum(1), torch.ones(3))
    assert weights[2, 0] > likeliest[0] and log_rank(weights[2]) <= log_rank(likeliest)


def test_what_does_not_count_does_not_move_the_weights():
    generator = torch.Generator().manual_seed(1)
    chance, repeat = torch.rand(50, 6, 2, generator=generator), torch.rand(50, 2, generator=generator)
    is_own, counts = torch.rand(50, 6, generator=generator) < 0.3, torch.ones(50, 6, dtype=torch.bool)
    wanted = ranked_weights(Candidates(repeat, chance, is_own, counts), torch.full((3, 2), 0.5))
    more = torch.cat([chance, torch.rand(50, 2, 2, generator=generator)], 1)
    padded = torch.nn.functional.pad(is_own, (0, 2)), torch.nn.functional.pad(counts, (0, 2))
    torch.testing.assert_close(ranked_weights(Candidates(repeat, more, *padded), torch.full((3, 2), 0.5)), wanted)
