"""Training steps on the meta device, whose tensors have no values: what would wait for a GPU fails there."""

from contextlib import nullcontext

import pytest
import torch

from recbole_tme.config import load_config
from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.loader import build_loaders
from recbole_tme.data.synthetic import toy

MINING = {"rank_low": 3, "rank_high": 20}
MODELS = {
    "SRGNN": {},
    "TMEGNN": MINING,
    "TMEGNNDP": MINING,
    "DANSeR": {},
    **{
        f"ATSRec {attack}": {"backbone": "SRGNN", "adv_attack": attack}
        for attack in ("pgd", "fgm", "fgsm", "free", "closed_form")
    },
}
STEPS = [(name, "full") for name in MODELS] + [
    *[(name, "sampled") for name in ("SRGNN", "TMEGNN", "TMEGNNDP", "DANSeR")],
    *[(name, "scalable") for name in ("SRGNN", "TMEGNN", "TMEGNNDP")],
]


@pytest.fixture(autouse=True)
def no_autocast_there(monkeypatch):
    """The device has no autocast to enter."""
    original = torch.autocast

    def autocast(device_type, **rest):
        return nullcontext() if device_type == "meta" else original(device_type, **rest)

    monkeypatch.setattr(torch, "autocast", autocast)


def first_step(model, batch):
    losses = model.train().calculate_loss(batch)
    total = sum(losses) if isinstance(losses, tuple) else losses
    total.backward()
    return total


@pytest.mark.parametrize(("name", "loss_type"), STEPS)
def test_a_step_asks_the_device_nothing(name, loss_type):
    settings = {"show_progress": False, "embedding_size": 16, "device": "cpu", "loss_type": loss_type}
    config = load_config(name.split()[0], "toy", config_dict=settings | MODELS[name])
    datasets = SessionDataset(config, toy()).build()
    batch = next(iter(build_loaders(config, datasets)[0]))
    model = config.model_class(config, datasets[0])
    assert first_step(model, batch).item() > 0
    model.zero_grad()
    assert first_step(model.to("meta"), batch.to("meta")).is_meta


@pytest.mark.parametrize("question", [torch.Tensor.item, torch.unique, torch.nonzero, lambda x: x[x > 0]])
def test_the_device_answers_no_question(question):
    with pytest.raises((RuntimeError, NotImplementedError)):
        question(torch.ones(3, device="meta"))
