"""Rows of length 1 against PyTorch's normalize."""

import torch
from torch.nn import functional as F

from recbole_tme.nn.unit import unit_rows


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
