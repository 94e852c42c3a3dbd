"""Adam by rows: Adam where every row has a gradient, and nothing at all where a row has none."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

from recbole_tme.nn.row_optim import RowAdam, RowEmbedding, clippable, row_tables


def net(sparse: bool, rows=9):
    torch.manual_seed(0)
    return nn.ModuleDict({"table": nn.Embedding(rows, 4, sparse=sparse), "layer": nn.Linear(4, 3)}).double()


def loss_of(model, ids):
    return model["layer"](model["table"](ids)).pow(3).sum()


@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.1}, {"betas": (0.5, 0.7), "eps": 1e-3}])
def test_it_is_adam_where_every_row_has_a_gradient(settings):
    sparse, dense = net(True), net(False)
    ours = RowAdam(sparse.parameters(), lr=0.05, **settings)
    theirs = torch.optim.Adam(dense.parameters(), lr=0.05, **settings)
    for seed in range(6):
        ids = torch.cat([torch.arange(9), torch.randint(0, 9, (5,), generator=torch.Generator().manual_seed(seed))])
        for model, optimizer in ((sparse, ours), (dense, theirs)):
            optimizer.zero_grad()
            loss_of(model, ids).backward()
            optimizer.step()
    for a, b in zip(sparse.parameters(), dense.parameters()):
        torch.testing.assert_close(a, b)


def test_dense_parameters_alone_are_adams():
    ours, theirs = net(False), net(False)
    for model, optimizer in ((ours, RowAdam(ours.parameters())), (theirs, torch.optim.Adam(theirs.parameters()))):
        loss_of(model, torch.arange(5)).backward()
        optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters()):
        assert torch.equal(a, b)


def test_rows_without_a_gradient_do_not_move_nor_do_their_moments():
    model = net(True, rows=50)
    optimizer = RowAdam(model.parameters(), lr=0.1, weight_decay=0.5)
    loss_of(model, torch.arange(50)).backward()
    optimizer.step()
    table = model["table"].weight
    before, moments = table.detach().clone(), copy.deepcopy(optimizer.state[table])
    optimizer.zero_grad()
    loss_of(model, torch.tensor([3, 7, 7])).backward()
    optimizer.step()
    moved = (table != before).any(1).nonzero().flatten().tolist()
    assert moved == [3, 7]
    for name in ("exp_avg", "exp_avg_sq"):
        changed = (optimizer.state[table][name] != moments[name]).any(1).nonzero().flatten().tolist()
        assert changed == [3, 7]


def test_a_table_without_any_gradient_is_left_alone():
    model = net(True)
    optimizer = RowAdam(model.parameters(), weight_decay=0.5)
    before = model["table"].weight.detach().clone()
    model["layer"](torch.ones(2, 4).double()).sum().backward()
    optimizer.step()
    assert torch.equal(model["table"].weight, before)


def test_state_goes_through_a_checkpoint_bit_for_bit():
    whole = net(True)
    optimizer = RowAdam(whole.parameters(), lr=0.1)
    batches = [torch.tensor([1, 2, 2]), torch.tensor([2, 5]), torch.tensor([1, 8])]

    def train(model, optimizer, batches):
        for ids in batches:
            optimizer.zero_grad()
            loss_of(model, ids).backward()
            optimizer.step()

    train(whole, optimizer, batches[:1])
    again = copy.deepcopy(whole)
    resumed = RowAdam(again.parameters(), lr=0.7)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(whole, optimizer, batches[1:])
    train(again, resumed, batches[1:])
    for a, b in zip(whole.parameters(), again.parameters()):
        assert torch.equal(a, b)


def test_a_schedule_changes_its_step():
    model = net(True)
    optimizer = RowAdam(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.0)
    loss_of(model, torch.arange(9)).backward()
    optimizer.step()
    schedule.step()
    before = model["table"].weight.detach().clone()
    optimizer.step()
    assert torch.equal(model["table"].weight, before)


def test_a_closure_is_evaluated_once():
    model = net(True)
    optimizer = RowAdam(model.parameters())
    calls = []

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model, torch.arange(3))
        loss.backward()
        calls.append(loss)
        return loss

    assert optimizer.step(closure) is calls[0] and len(calls) == 1


@pytest.mark.parametrize("norm_type", [1.0, 2.0, float("inf")])
def test_clipping_by_rows_is_clipping(norm_type):
    sparse, dense = net(True), net(False)
    ids = torch.tensor([1, 1, 4, 8])
    for model in (sparse, dense):
        loss_of(model, ids).backward()
    ours = clip_grad_norm_(clippable(sparse.parameters()), 0.3, norm_type)
    theirs = clip_grad_norm_(list(dense.parameters()), 0.3, norm_type)
    torch.testing.assert_close(ours, theirs)
    for a, b in zip(sparse.parameters(), dense.parameters()):
        torch.testing.assert_close(a.grad.to_dense(), b.grad)


def test_row_tables_are_the_sparse_embeddings():
    model = net(True)
    assert row_tables(model) == {model["table"].weight}
    assert row_tables(net(False)) == set()


@pytest.mark.parametrize("weight_decay", [0, 0.1])
def test_padding_never_moves(weight_decay):
    table = RowEmbedding(5, 2)
    before = table.weight.detach().clone()
    optimizer = RowAdam(table.parameters(), lr=0.1, weight_decay=weight_decay)
    for _ in range(2):
        optimizer.zero_grad()
        table(torch.tensor([[1, 0], [0, 0]])).square().sum().backward()
        F.embedding(torch.tensor([3]), table.weight, sparse=True).sum().backward()
        assert not table.weight.grad.to_dense()[[0, 2, 4]].any()
        optimizer.step()
    assert not table.weight[0].any()
    assert (table.weight != before).any(1).tolist() == [False, True, False, True, False]


def test_row_embedding_is_an_embedding():
    ours, theirs = RowEmbedding(5, 2), nn.Embedding(5, 2, padding_idx=0)
    theirs.load_state_dict(ours.state_dict())
    ids = torch.tensor([[1, 0, 1], [4, 3, 0]])
    weight = torch.rand(2, 3, 2)
    for table in (ours, theirs):
        (table(ids) * weight).sum().backward()
    torch.testing.assert_close(ours(ids), theirs(ids))
    torch.testing.assert_close(ours.weight.grad.to_dense(), theirs.weight.grad)
