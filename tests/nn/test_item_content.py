"""Item vectors with content: the sum, what is dropped in training, and items that only their content speaks for."""

import pytest
import torch
from torch import nn

from recbole_tme.nn.item_content import add_content, content_of, fix_content


def made(dropout=0.5):
    torch.manual_seed(0)
    embedding = nn.Embedding(5, 3, padding_idx=0)
    features = torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1], [0, 0]])
    add_content(embedding, features, torch.tensor([True, True, True, False, True]), dropout)
    return embedding, content_of(embedding)


def test_an_item_is_the_sum_and_one_without_clicks_its_content():
    embedding, content = made()
    embedding.eval()
    learned, mapped = embedding.parametrizations.weight.original, content.features @ content.map.weight.T
    table = embedding.weight
    torch.testing.assert_close(table[[1, 2, 4]], (learned + mapped)[[1, 2, 4]])
    torch.testing.assert_close(table[3], mapped[3])
    assert (table[0] == 0).all()
    torch.testing.assert_close(embedding(torch.tensor([[3, 1]])), table[[3, 1]].unsqueeze(0))


def test_in_training_the_learned_part_is_dropped_and_items_without_clicks_take_no_part():
    embedding, content = made()
    mapped = content.features @ content.map.weight.T
    tables = torch.stack([embedding.weight for _ in range(200)]).detach()
    assert (tables[:, [0, 3]] == 0).all()
    dropped = (tables[:, 1] - mapped[1]).abs().sum(1) < 1e-6
    assert 60 < int(dropped.sum()) < 140
    assert torch.equal(made(dropout=0.0)[0].weight[1], made(dropout=0.0)[0].weight[1])


def test_gradients_reach_both_parts():
    embedding, content = made(dropout=0.0)
    embedding.weight[1].sum().backward()
    assert content.map.weight.grad.abs().sum() > 0
    rows = embedding.parametrizations.weight.original.grad.abs().sum(1)
    assert rows[1] > 0 and (rows[[0, 2, 3, 4]] == 0).all()


def test_without_gradients_it_is_made_once_for_each_state_of_the_weights():
    embedding, content = made()
    embedding.eval()
    with torch.no_grad():
        first = embedding.weight
        assert embedding.weight is first
        content.map.weight += 1
        assert not torch.equal(embedding.weight, first)
        embedding.load_state_dict(made()[0].state_dict())
        torch.testing.assert_close(embedding.weight, first)


def test_fixed_it_is_an_embedding_like_any_other():
    embedding, _ = made()
    embedding.eval()
    table = embedding.weight.detach().clone()
    fix_content(embedding)
    assert content_of(embedding) is None and type(embedding) is nn.Embedding
    torch.testing.assert_close(embedding.weight.detach(), table)
    fix_content(embedding)


@pytest.mark.parametrize("module", [nn.Embedding(2, 2), nn.Linear(2, 2), nn.ReLU()])
def test_others_have_none(module):
    assert content_of(module) is None
