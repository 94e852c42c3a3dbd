"""Neighbour look-ups against the same in plain Python."""

import math

import numpy as np
import pytest
import torch

from recbole_tme.nn.neighbours import NeighbourIndex

N_ITEMS = 30
SESSIONS = [np.random.default_rng(s).integers(1, N_ITEMS, 2 + s % 7).tolist() for s in range(60)]


def index_of(sessions, sample_size=500):
    offsets = torch.tensor([0, *np.cumsum([len(session) for session in sessions])])
    items = torch.tensor([item for session in sessions for item in session])
    return NeighbourIndex(items, offsets, N_ITEMS, sample_size)


class Scores(torch.nn.Module):
    """The scores of sessions, as a function of what is learned."""

    def __init__(self, index):
        super().__init__()
        self.index = index

    def forward(self, rows):
        return self.index.scores(self.index.find(rows, torch.arange(len(rows))), len(rows)).sum(0)


def padded(sessions):
    return torch.tensor([session + [0] * (9 - len(session)) for session in sessions])


def by_hand(current, sessions, sample_size, learned=(0.0, 0.0, 0.0)):
    """Similarity by session number, and score by item."""
    a, p, q = learned
    holding = {i: [n for n, session in enumerate(sessions) if i in session] for i in set(current)}
    similarity = {}
    for numbers in holding.values():
        for number in numbers[-sample_size:]:
            rarity = math.log(len(sessions) / len(numbers)) ** (2 + p)
            fading = math.exp(-a * (len(sessions) - number) / len(sessions))
            added = fading * rarity / len(set(sessions[number])) ** (0.5 + q)
            similarity[number] = similarity.get(number, 0) + added
    scores = np.zeros(N_ITEMS)
    for number, value in similarity.items():
        scores[list(set(sessions[number]))] += value
    return similarity, scores


@pytest.mark.parametrize("learned", [(0.0, 0.0, 0.0), (1.5, 0.8, -0.2)])
@pytest.mark.parametrize("sample_size", [3, 500])
@torch.no_grad()
def test_similarities_and_scores_are_those_of_the_definition(sample_size, learned):
    index, current = index_of(SESSIONS, sample_size), [[3, 7, 3], [1], [5, 9, 11, 20]]
    index.learned.copy_(torch.tensor(learned))
    found = index.find(padded(current))
    scores, mass = index.scores(found, len(current)), index.mass(found, padded(current))
    for row, session in enumerate(current):
        similarity, wanted = by_hand(session, SESSIONS, sample_size, learned)
        mine = found.row == row
        assert found.session[mine].tolist() == sorted(similarity)
        expected = torch.tensor([similarity[n] for n in sorted(similarity)])
        torch.testing.assert_close(found.similarity[mine], expected)
        torch.testing.assert_close(scores[row], torch.tensor(wanted).float())
        new = [item for item in range(1, N_ITEMS) if item not in session]
        torch.testing.assert_close(mass[row], scores[row, new].sum())


@pytest.mark.parametrize("sample_size", [2, 500])
@torch.no_grad()
def test_a_session_left_out_is_as_if_it_had_never_been_there(sample_size):
    index = index_of(SESSIONS, sample_size)
    for own, session in enumerate(SESSIONS):
        prefix = padded([session[:-1]])
        found = index.find(prefix, torch.tensor([own]))
        assert own not in found.session
        without = index_of(SESSIONS[:own] + SESSIONS[own + 1 :], sample_size)
        wanted = without.find(prefix)
        assert found.session.tolist() == [n + (n >= own) for n in wanted.session.tolist()]
        torch.testing.assert_close(found.similarity, wanted.similarity)
        torch.testing.assert_close(index.scores(found, 1), without.scores(wanted, 1))


def test_of_a_training_session_near_ones_are_the_young_ones():
    index = index_of([[1, 2], [1, 3], [1, 4], [1, 5], [6]])
    with torch.no_grad():
        index.learned[0] = 5.0
        found = index.find(padded([[1]]), torch.tensor([1]))
    assert found.session.tolist() == [0, 2, 3]
    torch.testing.assert_close(found.similarity / found.similarity[0], torch.exp(torch.tensor([0.0, 0.0, -1.0])))


def test_what_makes_neighbours_similar_can_be_learned():
    index = index_of(SESSIONS).double()
    index.learned.data.copy_(torch.tensor([0.5, 0.1, 0.1]))
    rows = padded(SESSIONS[:5])

    def scores(learned):
        return torch.func.functional_call(Scores(index), {"index.learned": learned}, (rows,))

    assert torch.autograd.gradcheck(scores, (index.learned.detach().clone().requires_grad_(),), eps=1e-4, atol=1e-2)


def test_sessions_that_are_none_of_trainings_leave_nothing_out():
    index, rows = index_of(SESSIONS), padded(SESSIONS[:5])
    for mine, plain in zip(index.find(rows, torch.full((5,), -1)), index.find(rows)):
        assert torch.equal(mine, plain)


def test_an_item_without_a_session_and_an_index_without_sessions_find_nothing():
    assert len(index_of([[1, 2]]).find(padded([[9]])).row) == 0
    nothing = NeighbourIndex(torch.zeros(0, dtype=torch.long), torch.zeros(1, dtype=torch.long), N_ITEMS, 500)
    found = nothing.find(padded([[1, 2]]))
    assert (
        len(found.row) == 0 and not nothing.scores(found, 1).any() and not nothing.mass(found, padded([[1, 2]])).any()
    )


def test_it_is_loaded_into_one_that_knows_the_catalogue_only():
    filled = index_of(SESSIONS)
    empty = NeighbourIndex(torch.zeros(0, dtype=torch.long), torch.zeros(1, dtype=torch.long), N_ITEMS, 500)
    empty.load_state_dict(filled.state_dict())
    for mine, wanted in zip(empty.find(padded(SESSIONS[:9])), filled.find(padded(SESSIONS[:9]))):
        assert torch.equal(mine, wanted)


def test_it_takes_at_most_twelve_bytes_a_click():
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 10, 5000)
    items = torch.from_numpy(rng.integers(1, 5000, lengths.sum()))
    index = NeighbourIndex(items, torch.from_numpy(np.append(0, np.cumsum(lengths))), 5000, 500)
    assert sum(buffer.nbytes for buffer in index.buffers()) <= 12 * len(items)
