"""Both sides on one data set in one process: their trainers as their users get them, and turns of CPU time."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import _stock
import torch
from recbole.trainer import Trainer
from recbole.utils import get_model, init_seed

from recbole_tme.config.load import load_config
from recbole_tme.data.readers.atomic import read_dataset
from recbole_tme.data.sessions import SessionData
from recbole_tme.data.split import validation_cut
from recbole_tme.experiment.run import prepare_phase
from recbole_tme.recbole_patches.patches import tensorboard_in
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.utils.hardware import keep_freed_memory

SIZE = 100
CPU = torch.device("cpu")
# What RecBole's users get unless they say otherwise.
STOCK_MAX_LENGTH = 50
# Each model's own names of its vectors' size.
PEERS = {
    "SRGNN": {"embedding_size": SIZE},
    "GCSAN": {"hidden_size": SIZE},
    "NARM": {"embedding_size": SIZE, "hidden_size": SIZE},
    "SASRec": {"hidden_size": SIZE},
}


def common_arguments(description: str, rounds: int) -> argparse.ArgumentParser:
    """A parser of what the benchmarks of both sides have in common."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("dataset_atomic/tmall"), help="folder of atomic files")
    parser.add_argument("--name", default="tmall", help="the name its files begin with")
    parser.add_argument("--rounds", type=int, default=rounds, help="turns of each competitor; medians are over them")
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument(
        "--default-malloc",
        action="store_true",
        help="leave the C library's memory settings; else freed memory is kept, as in our runs, for both sides",
    )
    return parser


def start(args: argparse.Namespace) -> SessionData:
    """Set the process up; returns the data set, with a tenth of its training sessions held out."""
    torch.set_num_threads(1)
    data = read_dataset(args.data, args.name)
    if not args.default_malloc:
        keep_freed_memory()
    return data if data.valid is not None else validation_cut(data, 0.1)


class OurSide:
    """Trainers and loaders of ours, each run's files in a folder that may be thrown away."""

    def __init__(self, data: SessionData, folder: Path, batch_size: int, device: torch.device = CPU):
        self.data, self.folder, self.batch_size, self.device = data, folder, batch_size, device

    def trainer(self, model: str, size: dict[str, int] | None = None, **settings):
        """A trainer with a fresh model, whose ``size`` is by its own names, ours by default; returns it with ``(train,
        valid, test)`` loaders."""
        fixed = {
            "device": self.device.type,
            "train_batch_size": self.batch_size,
            "eval_batch_size": self.batch_size,
            "show_progress": False,
            "run_dir": str(self.folder),
        }
        if not model.startswith("recbole:"):
            # Like with like: RecBole's models have the whole catalogue, and here the default goes by its size.
            fixed["loss_type"] = "full"
        config = load_config(model, self.data.name, config_dict=fixed | (size or {"embedding_size": SIZE}) | settings)
        place = (self.folder, self.data.name, config.registered_name, config["seed"], config.hash())
        with RunDirectory.create(*place) as directory:
            pass
        return prepare_phase(config, self.data, directory, "select")


class StockSide:
    """RecBole's own loaders over files of its own, and its own trainers with its own models."""

    def __init__(self, data: SessionData, folder: Path, batch_size: int, device: torch.device = CPU):
        self.name, self.folder, self.batch_size = data.name, folder, batch_size
        self.gpu_id = "0" if device.type == "cuda" else ""
        _stock.write_presplit(data, folder)
        # The loaders do not depend on the model.
        self.loaders = _stock.loaders(self._config("SRGNN"))

    def _config(self, model: str, **settings):
        settings = {**PEERS[model], "show_progress": False, "gpu_id": self.gpu_id, **settings}
        return _stock.make_config(self.folder, self.name, STOCK_MAX_LENGTH, self.batch_size, model, **settings)

    def trainer(self, name: str, model: torch.nn.Module | None = None, **settings):
        """RecBole's trainer of one of its models, or with another model in its place."""
        config = self._config(name, **settings)
        init_seed(config["seed"], config["reproducibility"])
        if model is None:
            model = get_model(name)(config, self.loaders[0].dataset)
        with tensorboard_in(None):
            return Trainer(config, model.to(config["device"]))


def take_turns(
    jobs: dict[str, Callable[[], None]], rounds: int, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Median seconds of each job; in every round each has its turn, in an order that is reversed each time.

    CPU time unless ``clock`` says otherwise, because other processes may have the cores for a while. A first turn of
    each is not counted.
    """
    for job in jobs.values():
        job()
    seconds = {name: [] for name in jobs}
    for turn in range(rounds):
        for name in jobs if turn % 2 else reversed(jobs):
            started = clock()
            jobs[name]()
            seconds[name].append(clock() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}
