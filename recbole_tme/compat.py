"""Every shim for a version of RecBole, NumPy, torch, pandas or Ray: the one file that knows them.

Each function says why it is needed; ``tests/test_compat.py`` fails for each once it no longer is.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import inspect
import io
import os
import platform
import re
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from recbole_tme import registry
from recbole_tme.errors import UserError

# What RecBole 1.2.1 names, and what it means by it (configurator.py: Config.compatibility_settings).
_NUMPY_ALIASES = {
    "bool": "bool_",
    "int": "int_",
    "float": "float64",
    "complex": "complex128",
    "object": "object_",
    "str": "str_",
    "long": "int_",
    "unicode": "str_",
    "float_": "float64",
    "complex_": "complex128",
    "unicode_": "str_",
}
# Numbers of the settings in the C library's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Seconds that a Ray cluster has to accept a connection, and again to answer.
RAY_ANSWERS_WITHIN = 8


def install_numpy_aliases(config=None) -> None:
    """Give NumPy the names it dropped in 1.24 and 2.0.

    RecBole's metrics and interactions use ``np.float`` and the like, which RecBole itself defines only when a
    ``Config`` is constructed, so that a model loaded in a fresh process cannot be evaluated; and under NumPy 2 that
    constructor fails at ``np.float_``. Names that NumPy has are left alone.

    Args:
        config: ignored; lets this function stand in for ``Config.compatibility_settings``.
    """
    import numpy as np

    for alias, name in _NUMPY_ALIASES.items():
        if alias not in vars(np):
            setattr(np, alias, getattr(np, name))


@contextmanager
def keeping_anomaly_mode():
    """Keep torch's anomaly detection as it was while RecBole's sequential models are imported.

    ``sine.py`` calls ``torch.autograd.set_detect_anomaly(True)`` at import, and the package imports it whatever the
    model: every training would run 1.3 times slower. A user's own choice, before or after, stands.
    """
    import torch

    before = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
    try:
        yield
    finally:
        torch.autograd.set_detect_anomaly(*before)


def switch_anomaly_mode_off() -> None:
    """Undo ``sine.py``'s global switch where RecBole's models were imported before this package; see
    :func:`keeping_anomaly_mode`."""
    import torch

    torch.autograd.set_detect_anomaly(False)


def patch_utils(module: ModuleType) -> None:
    """In ``recbole.utils.utils``: NumPy's old names, and an honest ``get_model``.

    For an unknown model RecBole's ``get_model`` goes on to import lightgbm and fails with ``No module named
    'lightgbm'``; for a name in the wrong case with an AttributeError.
    """
    install_numpy_aliases()
    original = module.get_model

    @functools.wraps(original)
    def get_model(model_name):
        try:
            return original(model_name)
        except ModuleNotFoundError as error:
            unknown = error.name in ("lightgbm", "xgboost") and error.name != model_name.lower()
            failure = error
        except AttributeError as error:
            unknown = f"has no attribute {model_name!r}" in str(error)
            failure = error
        except ValueError as error:
            unknown = "not the name of an existing model" in str(error)
            failure = error
        raise registry.unknown_model(model_name, sequential_only=False) if unknown else failure

    replace_everywhere(original, get_model)


def patch_dataset(module: ModuleType) -> None:
    """In ``recbole.data.dataset.dataset``: refuse to load with pandas 3.

    RecBole fills missing values with ``frame[column].fillna(..., inplace=True)``, which does nothing under pandas 3's
    copy-on-write: NaN would reach the model. Presplit data dies in ``_remap``, where ``agg(len)`` now reduces. Our own
    session data set does not go through either.
    """
    import pandas

    if version_tuple(pandas.__version__) < (3,):
        return

    def from_scratch(self):
        raise UserError(
            f"RecBole's {type(self).__name__} does not work with pandas {pandas.__version__} (missing values stay "
            f"in the data unseen); pip install 'pandas<3', or run the model with recbole-tme"
        )

    module.Dataset._from_scratch = from_scratch


@contextmanager
def tensorboard_in(path: Path | str | None):
    """Let trainers that are constructed inside write TensorBoard files into ``path``, or none where it is None.

    RecBole's trainer always writes to ``./log_tensorboard``, whatever the configuration says.
    """
    from recbole.trainer import trainer
    from torch.utils.tensorboard import SummaryWriter

    original = trainer.get_tensorboard
    trainer.get_tensorboard = lambda logger: None if path is None else SummaryWriter(str(path))
    try:
        yield
    finally:
        trainer.get_tensorboard = original


def has_fast_bfloat16(device) -> bool:
    """Whether a device multiplies bfloat16 in hardware, several times faster than float32.

    torch says so publicly for GPUs only; its own dispatcher for CPUs asks the functions used here, which a later
    version may rename: then the answer is no, and products stay in float32.

    Args:
        device: a ``torch.device``.
    """
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    asked = (getattr(torch.cpu, f"_is_{feature}_supported", None) for feature in ("avx512_bf16", "amx_tile"))
    return device.type == "cpu" and any(supports is not None and supports() for supports in asked)


def keep_freed_memory() -> None:
    """Let this process reuse the memory it frees instead of returning it to the system each time.

    A training step allocates and frees the same large tensors. The C library hands such blocks back at once, and the
    kernel clears every page again when they are wanted next: with the default settings up to a quarter of a step's CPU
    time. The peak does not change, but what a peak took stays with the process. Nothing happens where the C library
    has no such settings.
    """
    libc = _c_library()
    if hasattr(libc, "mallopt"):
        for setting in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
            libc.mallopt(setting, 2**31 - 1)


def return_freed_memory() -> None:
    """Hand the memory that this process has freed back to the system, once.

    The C library keeps what lies between blocks in use. After a text file is read that is most of what its parser took,
    several times what was found in it. Nothing happens where the C library has no such function.
    """
    libc = _c_library()
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def _c_library() -> ctypes.CDLL | None:
    """The C library where it may have glibc's functions, else None."""
    return ctypes.CDLL(None) if sys.platform == "linux" else None


def import_ray() -> ModuleType:
    """Ray without its reports home, its warnings about setuptools and the files of its own loggers.

    Raises:
        UserError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray
    except ImportError as error:
        raise UserError(f"Ray cannot be imported ({error}); pip install 'ray[tune]>=2.6,<2.7'") from error
    return ray


def report_to_tuner() -> Callable[[dict], None]:
    """The function by which a trial reports metrics; Ray has moved it from release to release.

    It was ``ray.air.session.report`` until 2.6, ``ray.train.report`` from 2.7 and ``ray.tune.report`` from 2.4x on;
    ``ray.tune.report`` and ``ray.train.report`` of the older releases are other functions, which take keywords.
    """
    from ray import train, tune

    candidates = [tune, train]
    with suppress(ImportError):
        from ray.air import session

        candidates.append(session)
    for module in candidates:
        report = getattr(module, "report", None)
        if callable(report) and "metrics" in inspect.signature(report).parameters:
            return report
    raise UserError("this version of Ray reports metrics in no known way; pip install 'ray[tune]>=2.6,<2.7'")


def tuner_state() -> tuple[str, Any]:
    """Inside a trial: Ray's name of it, and the checkpoint that it is to go on from, or None; moved like ``report``."""
    from ray import train, tune

    for module in (tune, train):
        if hasattr(module, "get_context") and hasattr(module, "get_checkpoint"):
            return module.get_context().get_trial_id(), module.get_checkpoint()
    from ray.air import session

    return session.get_trial_id(), session.get_checkpoint()


def tuner_settings() -> ModuleType:
    """The module whose ``RunConfig``, ``FailureConfig`` and ``Checkpoint`` Ray's Tuner takes.

    It is ``ray.tune`` where that has them, else ``ray.train``, in 2.6 ``ray.air``.
    """
    from ray import air, train, tune

    return next(module for module in (tune, train, air) if hasattr(module, "RunConfig"))


def reachable_ray(address: str) -> str:
    """The address of a Ray cluster that answers, as ``HOST:PORT``.

    ``ray.init`` tries an address at which nothing answers for 100 seconds and then ends the process.

    Args:
        address: ``HOST:PORT``, or ``auto`` for the cluster this machine is a node of.

    Raises:
        UserError: nothing answers within a few seconds, or what answers is not Ray.
    """
    from ray._private.services import canonicalize_bootstrap_address

    remedy = "start one with ray start --head, or leave the address out"
    host, colon, port = address.rpartition(":")
    if address != "auto" and not (host and colon and port.isdecimal() and int(port) < 2**16):
        raise UserError(f"Ray address {address!r} is neither auto nor HOST:PORT, such as 192.0.2.1:6379")
    try:
        found = canonicalize_bootstrap_address(address)
        host, _, port = found.rpartition(":")
        socket.create_connection((host, int(port)), timeout=RAY_ANSWERS_WITHIN).close()
    except OSError as error:
        reason = str(error).partition(". ")[0] if address == "auto" else error.strerror or error
        raise UserError(f"no Ray cluster can be reached at {address} ({reason}); {remedy}") from error
    try:
        answers = _is_ray(found)
    except (RuntimeError, TypeError) as error:
        raise UserError(f"the Ray at {address} does not take this one ({error}); {remedy}") from error
    if not answers:
        raise UserError(f"what answers at {address} is not Ray; {remedy}")
    return found


def _is_ray(address: str) -> bool:
    """Whether Ray answers there soon; RuntimeError or TypeError where it is of another version or wants a token."""
    import ray

    if hasattr(ray._raylet, "check_health"):
        # It prints a traceback where nothing answers.
        with redirect_stderr(io.StringIO()):
            return ray._raylet.check_health(address, timeout=RAY_ANSWERS_WITHIN)
    # Later versions can ask only with limits that are too long for a user who waits; the process may need to be ended.
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", f"--address={address}"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=2 * RAY_ANSWERS_WITHIN)
    except subprocess.TimeoutExpired:
        return False
    if asked.returncode:
        raise RuntimeError(asked.stderr.strip().rpartition("\n")[2])
    return True


def replace_everywhere(original, replacement) -> None:
    """Put a function in the place of another in every module of RecBole that has imported it."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "recbole" and vars(module).get(original.__name__) is original:
            setattr(module, original.__name__, replacement)


@dataclass(frozen=True)
class Tested:
    """The range of versions of a package that this program was tested with: ``low <= version < below``.

    Attributes:
        package: its name for ``importlib.metadata``, or "python".
        optional: nothing is wrong where it is absent.
    """

    package: str
    low: tuple[int, ...]
    below: tuple[int, ...]
    optional: bool = False

    def __str__(self) -> str:
        return f">={'.'.join(map(str, self.low))}, <{'.'.join(map(str, self.below))}"


TESTED = (
    Tested("python", (3, 10), (3, 14)),
    Tested("recbole", (1, 2, 1), (1, 2, 2)),
    Tested("torch", (2, 6), (2, 14)),
    Tested("numpy", (1, 26), (2, 5)),
    Tested("pandas", (2,), (3, 2)),
    Tested("scipy", (1, 11), (2,)),
    Tested("pyarrow", (15,), (27,)),
    Tested("ray", (2, 6), (2, 7), optional=True),
    Tested("setuptools", (40,), (100,), optional=True),
    Tested("matplotlib", (3, 8), (3, 12), optional=True),
)


def installed_versions() -> dict[str, str]:
    """Version by package of everything in :data:`TESTED` that is installed, without importing any of it."""
    versions = {"python": platform.python_version()}
    for tested in TESTED[1:]:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[tested.package] = importlib.metadata.version(tested.package)
    return versions


def version_tuple(version: str) -> tuple[int, ...]:
    """``"2.13.0+cpu"`` -> ``(2, 13, 0)``."""
    return tuple(int(number) for number in re.match(r"\d+(?:\.\d+)*", version)[0].split("."))


def conflicts(versions: Mapping[str, str]) -> list[str]:
    """Combinations of versions that are known not to work, each with what to do.

    Args:
        versions: as from :func:`installed_versions`.
    """
    have = {package: version_tuple(version) for package, version in versions.items()}
    new = (10**6,)

    def between(package: str, low: tuple[int, ...] = (), below: tuple[int, ...] = new) -> bool:
        return package in have and low <= have[package] < below

    found = []
    if between("pyarrow", low=(26,)) and between("numpy", below=(2,)):
        found.append("pyarrow >= 26 refuses NumPy 1 at import: pip install 'pyarrow<26'")
    if between("pandas", low=(3, 1)) and between("numpy", below=(2,)):
        found.append("pandas >= 3.1 needs NumPy 2: pip install 'pandas<3'")
    if between("ray", below=(2, 7)) and between("numpy", low=(2,)):
        found.append("Ray 2.6 uses names that NumPy 2 dropped (np.bool8): pip install 'numpy<2', or uninstall ray")
    if between("ray", below=(2, 7)) and not between("setuptools", below=(81,)):
        found.append("Ray 2.6 imports pkg_resources, gone from setuptools 81: pip install 'setuptools<81'")
    if between("ray", low=(2, 8)):
        found.append("RecBole 1.2.1 reports to Ray's tuner in a form newer Ray refuses: pip install 'ray[tune]<2.7'")
    return found
