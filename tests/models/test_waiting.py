"""Training steps on the meta device, whose tensors have no values: what would wait for a GPU fails there."""

from contextlib import nullcontext

import pytest
import torch
from helpers.steps import LOSS_TYPES, model_and_batch, step

ATTACKS = ("pgd", "fgm", "fgsm", "free", "closed_form")
STEPS = [(name, {"loss_type": loss_type}) for name, loss_type in LOSS_TYPES]
STEPS += [("recbole:SRGNN", {})]
STEPS += [("ATSRec", {"backbone": "SRGNN", "adv_attack": attack}) for attack in ATTACKS]


@pytest.fixture(autouse=True)
def no_autocast_there(monkeypatch):
    """The device has no autocast to enter."""
    original = torch.autocast

    def autocast(device_type, **rest):
        return nullcontext() if device_type == "meta" else original(device_type, **rest)

    monkeypatch.setattr(torch, "autocast", autocast)


@pytest.mark.parametrize(("name", "settings"), STEPS, ids=str)
def test_a_step_asks_the_device_nothing(name, settings):
    model, batch = model_and_batch(name, "cpu", **settings)
    assert step(model, batch).item() > 0
    model.zero_grad()
    assert step(model.to("meta"), batch.to("meta")).is_meta


@pytest.mark.parametrize("question", [torch.Tensor.item, torch.unique, torch.nonzero, lambda x: x[x > 0]])
def test_the_device_answers_no_question(question):
    with pytest.raises((RuntimeError, NotImplementedError)):
        question(torch.ones(3, device="meta"))
