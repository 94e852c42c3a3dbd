"""Functions called in Ray's workers: on this machine's cores and GPUs, or on a cluster that runs already.

Ray is imported in functions, here, in :mod:`~recbole_tme.experiment.ray_versions`, in
:mod:`~recbole_tme.experiment.together` and in :mod:`~recbole_tme.tuning.ray_tune` only.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recbole_tme.data.locate import CACHE_VARIABLE
from recbole_tme.errors import UserError, first_line
from recbole_tme.experiment import ray_versions
from recbole_tme.utils.hardware import local_cpus
from recbole_tme.utils.orphans import watched
from recbole_tme.utils.processes import environment

# Bytes. Configurations and results go through the object store; data sets are read by each worker.
OBJECT_STORE = 200 * 2**20
# Where Ray keeps a folder per session, unless the environment says otherwise.
RAY_LOGS = Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir())) / "ray"
# A task whose worker is killed (its node ends, memory runs out) is run once more.
RETRIES = 1


@dataclass(frozen=True)
class Resources:
    """What one task occupies.

    Attributes:
        cpus: cores; the task computes with as many threads, at least one.
        gpus: GPUs, or a share of one that several tasks use together.
    """

    cpus: float = 1
    gpus: float = 0

    @property
    def threads(self) -> int:
        return max(1, int(self.cpus))


@dataclass(frozen=True)
class Outcome:
    """How one call ended.

    Attributes:
        index: which of the calls.
        value: what it returned; None where it failed.
        error: why it failed, else None: what the function raised, or Ray's account of a worker that was lost.
        trace: the traceback of ``error`` as text.
    """

    index: int
    value: Any = None
    error: BaseException | None = None
    trace: str = ""


@contextmanager
def connected(address: str | None = None, resources: Resources | None = None) -> Iterator[None]:
    """A connection to Ray while the block lasts.

    Args:
        address: None starts Ray on this machine, reachable from this machine only, and ends it afterwards; ``auto``
            joins the cluster whose node this machine is, ``HOST:PORT`` a named one.
        resources: what each task will occupy.

    Raises:
        UserError: Ray is not installed or does not start, nothing answers at the address, or no node is large enough
            for one task.
    """
    resources = resources or Resources()
    check_resources(resources)
    if address is None:
        _check_size(resources, local_cpus(), torch.cuda.device_count(), "this machine")
    ray = ray_versions.import_ray()
    if ray.is_initialized():
        raise UserError("this process is connected to Ray already; call ray.shutdown() first")
    common = {
        "runtime_env": {"env_vars": worker_environment(resources)},
        "logging_level": logging.ERROR,
        "log_to_driver": False,
    }
    with ExitStack() as stack:
        # The watcher's block ends last.
        mark = stack.enter_context(watched()) if address is None else {}
        stack.callback(ray.shutdown)
        if address is None:
            with ray_versions.loopback_only(), environment(**mark), _starting("Ray does not start on this machine"):
                ray.init(
                    address="local",
                    num_cpus=local_cpus(),
                    num_gpus=torch.cuda.device_count(),
                    include_dashboard=False,
                    object_store_memory=OBJECT_STORE,
                    **common,
                )
        else:
            found = ray_versions.reachable_ray(address)
            with _starting(f"the Ray at {address} does not take this program"):
                ray.init(address=found, **common)
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            largest = max(nodes, key=lambda node: (node.get("GPU", 0), node.get("CPU", 0)))
            if not any(_fits(resources, node.get("CPU", 0), node.get("GPU", 0)) for node in nodes):
                _check_size(resources, largest.get("CPU", 0), largest.get("GPU", 0), f"the largest node of {address}")
        yield


@contextmanager
def _starting(failure: str) -> Iterator[None]:
    """What Ray raises when one of its processes dies at start, of whatever type and length, as one line."""
    try:
        yield
    except Exception as error:
        reason = first_line(error).rstrip(". ")
        raise UserError(f"{failure} ({reason}); its logs are in the newest folder of {RAY_LOGS}") from error


def call_all(function: Callable, calls: Sequence[tuple], resources: Resources | None = None) -> Iterator[Outcome]:
    """Call a function once per tuple of arguments in Ray's workers, as many at a time as there is room for.

    To be used inside :func:`connected`. Each call sees this process's working directory and ``sys.path``, and GPUs as
    Ray assigned them.

    Args:
        function: of a module's top level.
        calls: its arguments, which can be pickled.
        resources: what each call occupies.

    Yields:
        One outcome per call, in the order in which they end.
    """
    import ray

    resources = resources or Resources()
    remote = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=RETRIES)(called)
    place = Place.here(resources)
    waiting = {remote.remote(function, arguments, place): index for index, arguments in enumerate(calls)}
    while waiting:
        (done,), _ = ray.wait(list(waiting), num_returns=1)
        index = waiting.pop(done)
        try:
            value, error, trace = ray.get(done)
        except ray.exceptions.RayError as lost:
            value, error, trace = None, lost, str(lost)
        yield Outcome(index, value, error, trace)


def slots(resources: Resources) -> int:
    """How many tasks the nodes of the connection have room for at a time."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(_room(resources, node.get("CPU", 0), node.get("GPU", 0)) for node in nodes)


def _room(resources: Resources, cpus: float, gpus: float) -> int:
    by_gpus = int(gpus / resources.gpus + 1e-9) if resources.gpus else int(cpus / resources.cpus)
    return min(int(cpus / resources.cpus + 1e-9), by_gpus)


def called(function: Callable, arguments: tuple, place: Place) -> tuple[Any, BaseException | None, str]:
    """In a worker: what a function returns, or what it raises and where; it sees what its caller sees."""
    place.enter()
    try:
        return function(*arguments), None, ""
    except Exception as error:
        return None, error, traceback.format_exc()


@dataclass(frozen=True)
class Place:
    """What a worker takes over from the process that called it.

    Attributes:
        folder: the working directory, for relative paths; kept only where the worker's machine has it.
        threads: of torch.
    """

    folder: str
    threads: int

    @classmethod
    def here(cls, resources: Resources) -> Place:
        return cls(os.getcwd(), resources.threads)

    def enter(self) -> None:
        """Make the calling worker like the process that made this."""
        if os.path.isdir(self.folder):
            os.chdir(self.folder)
        torch.set_num_threads(self.threads)


def worker_environment(resources: Resources) -> dict[str, str]:
    """Environment variables of the workers. CUDA_VISIBLE_DEVICES is not among them: Ray sets it for each."""
    variables = {
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(os.path.abspath(path) for path in sys.path)),
        "OMP_NUM_THREADS": str(resources.threads),
        "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "20000"),
    }
    if os.environ.get(CACHE_VARIABLE):
        variables[CACHE_VARIABLE] = str(Path(os.environ[CACHE_VARIABLE]).absolute())
    return variables


def check_resources(resources: Resources) -> None:
    """Refuse amounts that Ray cannot hand out.

    Raises:
        UserError: a negative amount, nothing at all, or a broken number of several cores or GPUs.
    """
    for name, value in (("cpus", resources.cpus), ("gpus", resources.gpus)):
        if not 0 <= value < float("inf") or (value > 1 and value != int(value)):
            raise UserError(f"{name}: a task takes a share of one, such as 0.5, or a whole number, not {value:g}")
    if resources.cpus == 0:
        raise UserError("cpus: a task takes at least a share of one core, such as 0.5, not 0")


def _fits(resources: Resources, cpus: float, gpus: float) -> bool:
    return resources.cpus <= cpus and resources.gpus <= gpus


def _check_size(resources: Resources, cpus: float, gpus: float, where: str) -> None:
    for wanted, there, name in ((resources.cpus, cpus, "CPUs"), (resources.gpus, gpus, "GPUs")):
        if wanted > there:
            raise UserError(f"each task asks for {wanted:g} of the {name}, and {where} has {there:g}; ask for less")
