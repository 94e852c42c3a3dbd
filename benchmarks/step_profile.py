"""Where a training step's time goes, by PyTorch's profiler.

python benchmarks/step_profile.py --model=TMEGNN --dataset=tmall --threads=1
"""

from __future__ import annotations

import sys

import torch
from torch.profiler import ProfilerActivity, profile

from recbole_tme.config.load import load_config, parse_overrides
from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.loader import build_loaders
from recbole_tme.evaluation.protocol import load_data
from recbole_tme.experiment.surroundings import deterministic
from recbole_tme.experiment.trainer import named_losses

N_STEPS = 7


def main() -> None:
    config = load_config(overrides=parse_overrides(sys.argv[1:]))
    torch.set_num_threads(config["threads"] or torch.get_num_threads())
    datasets = SessionDataset(config, load_data(config)).build()
    train, _, _ = build_loaders(config, datasets)
    model = config.model_class(config, datasets[0]).to(config["device"]).train()
    # The trainer's own: one kernel.
    optimizer = torch.optim.Adam(
        model.parameters(), lr=config["learning_rate"], weight_decay=config["weight_decay"], fused=True
    )
    losses = named_losses(model)

    def step(batch) -> None:
        optimizer.zero_grad(set_to_none=True)
        sum(losses(batch.to(config["device"])).values()).backward()
        optimizer.step()

    batches = [batch for batch, _ in zip(train, range(N_STEPS + 1))]
    step(batches[0])
    with deterministic(config["reproducibility"]), profile(activities=[ProfilerActivity.CPU]) as profiler:
        for batch in batches[1:]:
            step(batch)
    print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=40))


if __name__ == "__main__":
    main()
