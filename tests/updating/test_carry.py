"""Weights carried over to another catalogue: by external id, from neighbours, from the mean, or refused."""

import numpy as np
import pytest
import torch
from torch import nn

from recbole_tme.data.ragged import to_offsets
from recbole_tme.data.sessions import Sessions
from recbole_tme.errors import UserError
from recbole_tme.updating.carry import NewItems, carry_over, old_rows

PAD = "[PAD]"


def sessions(*rows):
    return Sessions(
        items=np.concatenate(rows).astype(np.int32),
        offsets=to_offsets([len(row) for row in rows]),
        ids=np.array([str(k) for k in range(len(rows))], dtype=object),
    )


NONE = sessions([1, 1])


def test_rows_go_by_external_id_whatever_their_order():
    assert old_rows([PAD, "a", "b", "c"], np.array([PAD, "c", "new", "a"])).tolist() == [0, 3, -1, 1]


def test_a_new_item_is_the_mean_of_what_was_clicked_beside_it():
    # Items 1 and 2 are known, 3, 4 and 5 are new: 3 beside 1 twice and 2 once, 4 beside 3 alone, 5 beside nothing.
    rows = np.array([0, 2, 1, -1, -1, -1])
    made = NewItems(rows, sessions([1, 3, 1], [2, 3, 4], [5, 5]))
    table = torch.tensor([[9.0, 9.0], [0.0, 3.0], [6.0, 0.0]])
    found = made(table)
    assert found[1].tolist() == [6, 0] and found[2].tolist() == [0, 3] and found[0].tolist() == [9, 9]
    torch.testing.assert_close(found[3], torch.tensor([4.0, 1.0]))
    torch.testing.assert_close(found[4], found[3])
    torch.testing.assert_close(found[5], torch.tensor([3.0, 1.5]))
    assert made.carried == (2, 2, 1)


def test_what_does_not_go_by_item_is_copied_and_biases_by_item_are_carried_over():
    class Model(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.item_embedding = nn.Embedding(n, 4)
            self.layer = nn.Linear(4, 4)
            self.norm = nn.BatchNorm1d(4)
            self.bias = nn.Parameter(torch.zeros(n))
            self.register_buffer("counts", torch.full((n,), float(n)))

    old, new = Model(3), Model(4)
    with torch.no_grad():
        old.norm.running_mean += 7
        old.bias += torch.tensor([0.0, 1.0, 2.0])
    carry_over(new, old.state_dict(), NewItems(np.array([0, 2, -1, 1]), sessions([1, 2])), 3)
    torch.testing.assert_close(new.item_embedding.weight[[1, 3]], old.item_embedding.weight[[2, 1]])
    torch.testing.assert_close(new.item_embedding.weight[2], old.item_embedding.weight[2])
    assert new.bias.tolist() == [0, 2, 2, 1]
    assert torch.equal(new.layer.weight, old.layer.weight) and new.norm.running_mean.tolist() == [7] * 4
    assert new.counts.tolist() == [4] * 4


def test_an_embedding_is_moved_where_the_catalogue_is_as_large_but_in_another_order():
    old, new = nn.Embedding(3, 2), nn.Embedding(3, 2)
    carry_over(new, old.state_dict(), NewItems(np.array([0, 2, 1]), NONE), 3)
    assert torch.equal(new.weight, old.weight[[0, 2, 1]])
    carry_over(new, old.state_dict(), NewItems(np.array([0, 1, 2]), NONE), 3)
    assert torch.equal(new.weight, old.weight)


@pytest.mark.parametrize(
    ("old", "new", "rows", "message"),
    [
        (nn.Linear(2, 3), nn.Linear(2, 3), [0, 2, 1], "whether it goes by item cannot be told"),
        (nn.Linear(2, 5), nn.Linear(2, 4), [0, 1, 2], r"weight is \(5, 2\) in the run and \(4, 2\)"),
        (nn.Linear(2, 2, bias=False), nn.Linear(2, 2), [0, 1, 2], "hold no bias"),
    ],
)
def test_refused(old, new, rows, message):
    with pytest.raises(UserError, match=message):
        carry_over(new, old.state_dict(), NewItems(np.array(rows), NONE), 3)


def test_nothing_of_the_old_catalogue_left():
    with pytest.raises(UserError, match="none of the run's items is left"):
        NewItems(np.array([0, -1]), NONE)
