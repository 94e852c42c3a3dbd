"""What is said of RecBole's own models, checked on the models."""

import pytest
import torch

from recbole_tme.models.builtin.discovery import VARIABLE_LENGTH
from recbole_tme.testing import MAX_CLICKS, Workbench


def outcome(bench: Workbench, model, batch):
    """Scores, loss and gradients of a batch."""
    model.zero_grad()
    loss = model.calculate_loss(batch)
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return bench.scores(model, batch), loss.detach(), gradients


def narrow_and_wide(name: str, longest: int):
    """The outcomes of the same sessions, padded to the longest of them and to the maximum."""
    bench = Workbench(f"recbole:{name}")
    rows = [row for row, clicks in enumerate(bench.sessions) if len(clicks) <= longest]
    model = bench.build()
    with torch.no_grad():
        for parameter in model.parameters():
            # Weights as large as trained ones; padding has a vector too, which RecBole's softmax trains.
            parameter += 0.3 * torch.randn_like(parameter)
    return (outcome(bench, model, bench.batch(rows, width)) for width in (longest, MAX_CLICKS))


@pytest.mark.parametrize("longest", [1, 7])
@pytest.mark.parametrize("name", VARIABLE_LENGTH)
def test_padding_changes_neither_scores_nor_loss_nor_gradients(name, longest):
    narrow, wide = narrow_and_wide(name, longest)
    torch.testing.assert_close(narrow, wide, rtol=1e-4, atol=5e-5)


def test_a_model_that_sees_padding_would_be_found():
    narrow, wide = narrow_and_wide("STAMP", 7)
    assert (narrow[0] - wide[0]).abs().max() > 0.1
