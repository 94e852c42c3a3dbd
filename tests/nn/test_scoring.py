"""Products with the catalogue against plain ones."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_tme.nn.scoring import inner_products, padded_rows


@given(st.integers(0, 5), st.integers(1, 70), st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
def test_rows_are_long_enough_and_begin_at_whole_cache_lines(n_rows, n_columns, dtype):
    rows = padded_rows(n_rows, n_columns, torch.empty(1, dtype=dtype))
    assert len(rows) == n_rows and n_columns <= rows.shape[1] < n_columns + 16 and rows.dtype == dtype
    assert rows.stride(0) * 4 % 64 == 0


@pytest.mark.parametrize("n_items", [1, 15, 16, 1001])
def test_products_are_those_of_a_plain_product(n_items):
    torch.manual_seed(0)
    queries, table = torch.randn(33, 20), torch.randn(n_items, 20)
    products = inner_products(queries, table)
    torch.testing.assert_close(products, queries @ table.T)
    # Whoever wants another shape than the products' own asks as RecBole does.
    assert torch.equal(products.view(-1, n_items), products)


def test_products_keep_their_gradients():
    torch.manual_seed(0)
    queries = torch.randn(3, 4, dtype=torch.double, requires_grad=True)
    table = torch.randn(7, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(inner_products, (queries, table))
    with torch.no_grad():
        assert not inner_products(queries, table).requires_grad


def test_products_in_mixed_precision():
    torch.manual_seed(0)
    queries, table = torch.randn(3, 4).bfloat16(), torch.randn(7, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        products = inner_products(queries, table)
    torch.testing.assert_close(products, queries @ table.T.bfloat16())
