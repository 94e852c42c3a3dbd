"""Rows of length 1 against PyTorch's normalize."""

import copy

import torch
from torch.nn import functional as F

from recbole_tme.nn.unit import CachedUnitRows, unit_rows


def rows():
    torch.manual_seed(0)
    return torch.randn(7, 3, dtype=torch.double, requires_grad=True)


def test_equals_normalize_in_value_and_gradient():
    ours, theirs = unit_rows(table := rows()), F.normalize(table, dim=1)
    torch.testing.assert_close(ours, theirs)
    weight = torch.randn_like(ours)
    gradients = (torch.autograd.grad((unit * weight).sum(), table)[0] for unit in (ours, theirs))
    torch.testing.assert_close(*gradients)


def test_passes_gradcheck():
    assert torch.autograd.gradcheck(unit_rows, (rows(),))


def test_a_row_of_zeros_stays_one():
    table = torch.zeros(2, 3, requires_grad=True)
    unit = unit_rows(table)
    assert not unit.any()
    unit.sum().backward()
    assert torch.isfinite(table.grad).all()


def test_kept_rows_are_those_of_the_table_as_it_is_now():
    kept, table = CachedUnitRows(), torch.nn.Parameter(torch.randn(5, 3))

    def check():
        with torch.no_grad():
            assert torch.equal(kept(table), unit_rows(table))

    check()
    with torch.no_grad():
        table[2] += 1
    check()
    table.data = torch.randn(5, 3)
    check()
    torch.nn.Module.load_state_dict(holder := torch.nn.ParameterList([table]), {"0": torch.randn(5, 3)})
    assert holder[0] is table
    check()
    with torch.inference_mode():
        inference = torch.randn(5, 3)
        assert torch.equal(kept(inference), unit_rows(inference))


def test_rows_are_made_once_until_forgotten_and_copies_have_none():
    kept, table = CachedUnitRows(), torch.randn(5, 3)
    first = kept(table)
    assert kept(table) is first
    assert copy.deepcopy(kept)(table) is not first
    kept.invalidate()
    assert kept(table) is not first
