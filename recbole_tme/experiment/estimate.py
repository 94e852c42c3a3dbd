"""How much memory and time a run will take, from a few of its steps."""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from recbole_tme.config.load import SessionConfig
from recbole_tme.data.loader import SessionEvalLoader
from recbole_tme.errors import UserError
from recbole_tme.evaluation.protocol import Protocol, load_data, trained_on
from recbole_tme.evaluation.ranks import rank_all
from recbole_tme.evaluation.sampling import sampled
from recbole_tme.experiment.details import TopKStatistics, peak_memory, popularity_percentiles
from recbole_tme.experiment.loading import build_model
from recbole_tme.experiment.parallel import in_processes
from recbole_tme.experiment.run import check_selection, prepare_trainer, selection_data
from recbole_tme.experiment.surroundings import deterministic
from recbole_tme.experiment.trainer import SessionTrainer
from recbole_tme.models.blend import Blend
from recbole_tme.models.registry import is_seed_independent
from recbole_tme.nn import distributed
from recbole_tme.nn.embedding_diagnostics import item_vectors, singular_values
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.utils.hardware import keep_freed_memory

# Steps before the measured ones, and how many are measured: as many as fit into SECONDS, within these bounds.
WARM_UP, FEWEST, MOST = 3, 12, 60
SECONDS = 6.0
# Batches of an evaluation that are ranked.
RANKED = 4


class Seconds(NamedTuple):
    """Time on the clock, and of the processors of all processes."""

    clock: float
    cpu: float

    def __add__(self, other: Seconds) -> Seconds:  # type: ignore[override]
        return Seconds(self.clock + other.clock, self.cpu + other.cpu)

    def times(self, factor: float) -> Seconds:
        """As many of them."""
        return Seconds(self.clock * factor, self.cpu * factor)


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes:
        model, dataset: their names.
        items, instances, batches: of the catalogue, of training, and of an epoch.
        steps: how many were measured.
        memory: bytes, of all processes at their peak; None where the system does not say.
        gpu_memory: bytes on the GPU of one process; None on a CPU.
        start: reading the data and building the model.
        training, validation: of one epoch; validation with what is written after it.
        test: the evaluation at the end.
        epochs: how many the settings allow.
        stops_early: whether fewer may do.
        retrains: whether the selected number of epochs is trained once more.
    """

    model: str
    dataset: str
    items: int
    instances: int
    batches: int
    steps: int
    memory: float | None
    gpu_memory: float | None
    start: Seconds
    training: Seconds
    validation: Seconds
    test: Seconds
    epochs: int
    stops_early: bool
    retrains: bool

    def total(self, epochs: int | None = None) -> Seconds:
        """The whole run with so many epochs; by default as many as the settings allow."""
        epochs = self.epochs if epochs is None else epochs
        whole = self.start + (self.training + self.validation).times(epochs) + self.test
        return whole + self.training.times(epochs) if self.retrains else whole


def estimate(config: SessionConfig) -> Estimate:
    """Run a few steps and a part of an evaluation in a process of its own, and tell from them what a run will take.

    Nothing is left behind. With ``nproc`` there are as many processes as the run would have, which share its steps.

    Args:
        config: the run's.

    Raises:
        UserError: as the run would: bad data or settings; or it is a blend, which trains nothing.
    """
    check_selection(config)
    if issubclass(config.model_class, Blend):
        raise UserError(f"{config.registered_name} trains nothing but its members; estimate those")
    return in_processes(measure, config)


def measure(config: SessionConfig) -> Estimate:
    """What :func:`estimate` does in each process; the main one's answer counts."""
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    clock = _Clock(config["device"])
    data = load_data(config)
    keep_freed_memory()
    protocol, selected, final = Protocol.of(config, data), selection_data(config, data), trained_on(config, data)
    with tempfile.TemporaryDirectory() as folder, deterministic(config["reproducibility"]):
        built = build_model(config, selected)
        with RunDirectory.create(Path(folder), config["dataset"], "estimate", 0, "0" * 8) as directory:
            pass
        trainer, loaders = prepare_trainer(config, built, data.tokens, directory, "select")
        start = clock.lap()
        steps, training = time_epoch(trainer, loaders[0], clock)
        chosen_on = loaders[2] if config["select_on"] == "test" or loaders[1] is None else loaders[1]
        chosen_on = sampled(chosen_on, config["eval_sample"])
        validation = time_evaluation(trainer.model, chosen_on, config, clock) + time_saving(trainer, loaders[0], clock)
        lists = TopKStatistics(popularity_percentiles(final), [])
        test = time_evaluation(trainer.model, loaders[2], config, clock, lists)
        vectors = item_vectors(trainer.model, len(data.tokens))
        if vectors is not None:
            singular_values(vectors.cpu().double())
        test += clock.lap()
        trainer.tensorboard = None
    on_gpu = config["device"].type == "cuda"
    held = distributed.gather(peak_memory(torch.device("cpu")))
    no_epochs = is_seed_independent(config.model_class)
    return Estimate(
        model=config.registered_name,
        dataset=config["dataset"],
        items=protocol.items,
        instances=len(loaders[0].dataset),
        batches=len(loaders[0]),
        steps=steps,
        memory=None if None in held else sum(held) * 2**20,
        gpu_memory=torch.cuda.max_memory_allocated(config["device"]) if on_gpu else None,
        start=_of_all(start),
        training=_of_all(training),
        validation=_of_all(validation),
        test=_of_all(test),
        epochs=1 if no_epochs else config["epochs"],
        stops_early=not no_epochs and config["stopping_step"] < config["epochs"],
        retrains=bool(config["retrain"]),
    )


def time_epoch(trainer: SessionTrainer, loader, clock: _Clock) -> tuple[int, Seconds]:
    """An epoch's time from some of its steps, and how many those were.

    What a model does once at the beginning of an epoch is timed by itself.
    """
    trainer._train_epoch(First(loader, WARM_UP), 0)
    clock.lap()
    begin = getattr(trainer.model, "begin_epoch", None)
    if begin is not None:
        begin(0)
    beginning = clock.lap()
    trainer._train_epoch(First(loader, FEWEST // 2), 0)
    trial = clock.lap()
    one = max(1e-6, (trial.clock - beginning.clock) / min(len(loader), FEWEST // 2))
    # As many in each process, which would wait for one another otherwise.
    n = distributed.from_main(min(len(loader), max(FEWEST, min(MOST, int(SECONDS / one)))))
    trainer._train_epoch(First(loader, n), 0)
    found = clock.lap()
    steps = Seconds(max(0.0, found.clock - beginning.clock), max(0.0, found.cpu - beginning.cpu))
    return n, beginning + steps.times(len(loader) / n)


def time_evaluation(
    model, loader: SessionEvalLoader, config: SessionConfig, clock: _Clock, observe: Callable | None = None
) -> Seconds:
    """The time to rank a split, from some of its batches, taken evenly from the longest prefixes to the shortest."""
    some = _Some(loader, RANKED)
    rank_all(model, _Some(loader, 1), config["device"], observe=observe)
    clock.lap()
    loader.dataset.instance_arrays()
    fixed = clock.lap()
    rank_all(model, some, config["device"], observe=observe)
    found = clock.lap()
    ranked = Seconds(max(0.0, found.clock - fixed.clock), max(0.0, found.cpu - fixed.cpu))
    return fixed + ranked.times(some.share)


def time_saving(trainer: SessionTrainer, loader, clock: _Clock) -> Seconds:
    """The time to keep an epoch's weights and to write its checkpoint."""
    trainer._keep_weights(0)
    trainer.history = [{"phase": "select", "epoch": 0, "train_seconds": 0.0}]
    clock.lap()
    trainer.save(0, loader)
    return clock.lap()


class _Clock:
    """Time since the last lap, when the device has done what it was given."""

    def __init__(self, device: torch.device):
        self.device = device
        self.last = self._now()

    def lap(self) -> Seconds:
        before, self.last = self.last, self._now()
        return Seconds(self.last.clock - before.clock, self.last.cpu - before.cpu)

    def _now(self) -> Seconds:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return Seconds(time.perf_counter(), time.process_time())


class First:
    """The first batches of a training loader."""

    def __init__(self, loader, n: int):
        self.loader, self.n = loader, min(n, len(loader))

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator:
        return itertools.islice(iter(self.loader), self.n)


class _Some:
    """Some batches of an evaluation loader, as evenly spaced as they can be.

    Attributes:
        share: how many times as many the whole has.
    """

    def __init__(self, loader: SessionEvalLoader, n: int):
        self.loader, self.dataset, self.iid_field = loader, loader.dataset, loader.iid_field
        # Each process has its share of them.
        own = max(1, math.ceil(len(loader) / distributed.size()))
        self.every = max(1, own // n)
        self.share = own / math.ceil(own / self.every)

    def __len__(self) -> int:
        return len(self.loader)

    def ranked_batches(self) -> Iterator:
        return self.loader.ranked_batches(self.every)


def _of_all(seconds: Seconds) -> Seconds:
    """The longest time on the clock, and the processors' time of all processes."""
    clocks, cpus = zip(*distributed.gather(tuple(seconds)))
    return Seconds(max(clocks), sum(cpus))
