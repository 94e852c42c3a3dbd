"""What a run left, for tests that compare two runs bit for bit or break one off."""

import csv
from pathlib import Path

import numpy as np

from recbole_tme.runs.directory import RunDirectory


def results(directory: RunDirectory) -> tuple:
    """What must be equal for two runs to be the same run, bit for bit."""
    metrics = {k: v for k, v in directory.read_metrics().items() if "seconds" not in k}
    ranks = np.load(directory.ranks_file)
    with directory.history_file.open() as file:
        history = [{k: v for k, v in row.items() if "seconds" not in k} for row in csv.DictReader(file)]
    return (
        metrics,
        {name: ranks[name].tolist() for name in ranks.files},
        history,
        directory.model_file.read_bytes(),
    )


class Stop(Exception):
    """Stands for whatever ends a process."""


def stop_after(epoch):
    def callback(done, _score):
        if done == epoch:
            raise Stop

    return callback


def only_run(root="runs") -> RunDirectory:
    (path,) = Path(root).glob("*/*/*")
    return RunDirectory(path)
