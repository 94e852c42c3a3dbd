"""One training whose processes are spread over the nodes of a Ray cluster; one that is lost does not end it."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from recbole_tme.config.load import SessionConfig
from recbole_tme.errors import Interrupted, UserError
from recbole_tme.experiment.cluster import Resources, connected
from recbole_tme.experiment.run import how_to_go_on, run
from recbole_tme.experiment.together import Lost, call_together, use_interface_of_node
from recbole_tme.nn import distributed
from recbole_tme.runs.directory import RunDirectory

# How often a training is continued after it has lost a process.
CONTINUED = 3


def train_on_cluster(config: SessionConfig, address: str, resume: RunDirectory | None = None) -> RunDirectory:
    """Do what :func:`~recbole_tme.experiment.run.run` does, in ``nproc`` processes spread over a Ray cluster's nodes.

    Each process takes ``threads`` cores (one without) and, where the configuration's device is a GPU, one of its node.
    The nodes see the same folders of data and runs. After the loss of a process all begin again with the last finished
    epoch, as ``--resume`` would.

    Args:
        config: the resolved configuration.
        address: ``auto`` or ``HOST:PORT``.
        resume: a run directory to continue.

    Raises:
        UserError: as ``run``; no cluster answers, or it has no room; or processes are lost again and again.
        Interrupted: by Ctrl-C; says how to go on.
    """
    n = config["nproc"]
    resources = Resources(config["threads"] or 1, int(config["device"].type == "cuda"))
    own = _Own(config, resume)
    with connected(address, resources):
        for left in reversed(range(CONTINUED + 1)):
            calls = [(rank, n, config, own.directory()) for rank in range(n)]
            try:
                return call_together(_member, calls, resources, own.tell)[0]
            except KeyboardInterrupt:
                directory = own.directory()
                raise Interrupted("" if directory is None else how_to_go_on(directory)) from None
            except Lost as lost:
                own.tell()
                directory = own.directory()
                if directory is not None and not directory.resumable:
                    directory.remove()
                said = how_to_go_on(directory) if directory is not None and directory.resumable else "start again"
                if not left:
                    raise UserError(f"processes were lost {CONTINUED + 1} times ({lost}); {said}") from None
                print(f"a process was lost ({lost}); all go on from the last finished epoch", file=sys.stderr)
    raise AssertionError("the loop returns or raises")


def _member(
    meeting_point: str, rank: int, size: int, config: SessionConfig, resume: RunDirectory | None
) -> RunDirectory:
    """What each process does."""
    use_interface_of_node()
    if config["device"].type == "cuda":
        # Ray shows each worker the GPUs that it gave it.
        config["device"] = torch.device("cuda", 0)
    with distributed.group(rank, size, config["device"], meeting_point):
        return run(config, resume)


class _Own:
    """The directory of this training, which a process of another machine makes, and its log as it grows.

    Args:
        config: of the training.
        resume: its directory where there is one already.
    """

    def __init__(self, config: SessionConfig, resume: RunDirectory | None):
        self.config, self.resume = config, resume
        self.before = {run.path for run in self._existing()}
        self.read: dict[Path, int] = {}

    def _existing(self) -> list[RunDirectory]:
        config = self.config
        place = Path(config["run_dir"]), config["dataset"], config.registered_name, config["seed"], config.hash()
        return RunDirectory.existing(*place)

    def directory(self) -> RunDirectory | None:
        """The directory to go on from, None before there is one."""
        if self.resume is not None:
            return self.resume
        return next((run for run in reversed(self._existing()) if run.path not in self.before), None)

    def tell(self) -> None:
        """Show what was logged since the last call."""
        directory = self.directory()
        if directory is None or not directory.log_file.is_file():
            return
        # A resumed run's log is told from here on.
        start = self.read.setdefault(directory.log_file, directory.log_file.stat().st_size if self.resume else 0)
        with directory.log_file.open(encoding="utf-8") as file:
            file.seek(start)
            text = file.read()
            self.read[directory.log_file] = file.tell()
        sys.stderr.write(text)
