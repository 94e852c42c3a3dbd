"""Mixed chances: what they add up to, and the weights that make what happened likeliest."""

import torch

from recbole_tme.nn.blending import mix_chances, mixture_weights, split_chances

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
