"""Where the host waits for the GPU in training and evaluation, and how much of the time the GPU computes."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from _part import Part
from _sides import OurSide
from step import Batches, typical_rows
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from recbole_tme.evaluation.ranks import rank_all

MODELS = ("SRGNN", "TMEGNN", "DANSeR")
SHOWN = 8


def main() -> None:
    part = Part()
    data = part.data()
    # More than CHECK_EVERY, as the trainer looks at its losses that often.
    n_steps = 2 if part.toy else 60
    batch = 64 if part.toy else 512
    with tempfile.TemporaryDirectory() as folder:
        side = OurSide(data, Path(folder), batch, part.device)
        for name in MODELS[:1] if part.toy else MODELS:
            trainer, loaders = side.trainer(name, embedding_size=16 if part.toy else 100)
            batches = Batches(loaders[0], typical_rows(loaders[0], n_steps, batch))
            trainer._train_epoch(batches, 0)
            part.text += [f"### {name}", ""]
            observe(part, f"{n_steps} steps", partial(trainer._train_epoch, batches, 0))
            observe(part, "an evaluation", partial(rank_all, trainer.model, loaders[2], part.device))
    part.text.append(part.machine())
    part.save()


def observe(part: Part, what: str, work: Callable[[], object]) -> None:
    part.text += waits(what, work) if part.device.type == "cuda" else ["No GPU, no waits.", ""]
    part.text += busy(part, what, work)
    part.save()


def waits(what: str, work: Callable[[], object]) -> list[str]:
    """The lines of Python that made the host wait, by how often."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    found = Counter(f"{Path(one.filename).name}:{one.lineno}" for one in caught if "synchronizing" in str(one.message))
    lines = [f"{what}: the host waited {sum(found.values())} times"]
    return [*lines, "", *[f"* {n} × {place}" for place, n in found.most_common(SHOWN)], ""]


def busy(part: Part, what: str, work: Callable[[], object]) -> list[str]:
    """The share of the time that the device computes, and what it computes longest."""
    on_gpu = part.device.type == "cuda"
    part.wait()
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as profiler:
        began = time.perf_counter()
        work()
        part.wait()
        whole = time.perf_counter() - began
    own = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    # On a GPU an operation has its kernels' time as well; each counts once.
    events = [event for event in profiler.key_averages() if not on_gpu or event.device_type == DeviceType.CUDA]
    events.sort(key=lambda event: -getattr(event, own))
    total = sum(getattr(event, own) for event in events) / 1e6
    lines = [f"{what}: {whole:.3f} s, of which the device computed {total:.3f} s ({100 * total / whole:.0f} %)", ""]
    return [*lines, *[f"* {getattr(e, own) / 1e3:.1f} ms {e.key[:90]}" for e in events[:SHOWN]], ""]


if __name__ == "__main__":
    main()
