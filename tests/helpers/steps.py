"""Models on the toy data and a training step of theirs, for tests of what a step asks of its device."""

import torch

from recbole_tme.config.load import load_config
from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.loader import build_loaders
from recbole_tme.data.synthetic import toy
from recbole_tme.models.builtin.accelerated import accelerated

TOY = {"show_progress": False, "embedding_size": 16}
MODELS = {
    "SRGNN": {},
    "TMEGNN": {"rank_low": 3, "rank_high": 20},
    "TMEGNNDP": {"rank_low": 3, "rank_high": 20},
    # How many neighbours a session has, only the device knows: learning from them waits for it.
    "DANSeR": {"neighbours": False},
}
LOSS_TYPES = [(name, loss_type) for name in MODELS for loss_type in ("full", "sampled", "scalable")]
LOSS_TYPES.remove(("DANSeR", "scalable"))


def model_and_batch(name: str, device: str, **settings):
    """A model with the same weights wherever it is, and the first training batch."""
    config = load_config(name, "toy", config_dict=TOY | MODELS.get(name, {}) | {"device": device} | settings)
    datasets = SessionDataset(config, toy()).build()
    torch.manual_seed(0)
    model = accelerated(config.model_class(config, datasets[0]))
    return model.to(config["device"]), next(iter(build_loaders(config, datasets)[0])).to(config["device"])


def step(model, batch):
    """The sum of a batch's training losses, whose gradients are formed."""
    losses = model.train().calculate_loss(batch)
    total = sum(losses) if isinstance(losses, tuple) else losses
    total.backward()
    return total
