"""Ray as its releases have it: what has moved from one to the next, and a cluster that may not answer."""

from __future__ import annotations

import inspect
import io
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from types import ModuleType
from typing import Any

from recbole_tme.errors import UserError
from recbole_tme.utils.installing import install_extra

# Seconds that a Ray cluster has to accept a connection, and again to answer.
RAY_ANSWERS_WITHIN = 8


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
        raise UserError(f"Ray cannot be imported ({error}); run: {install_extra('tune')}") from error
    return ray


@contextmanager
def loopback_only() -> Iterator[None]:
    """Have a Ray that is started inside listen on the loopback interface; on the machine's own address otherwise.

    Ray's switch for it is read from the environment when it is imported, which may have happened before.
    """
    from ray._private import ray_constants

    variable = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    before, in_environment = ray_constants.ENABLE_RAY_CLUSTER, os.environ.get(variable)
    # The environment is for its processes.
    os.environ[variable] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        del os.environ[variable]
        if in_environment is not None:
            os.environ[variable] = in_environment


def report_to_tuner() -> Callable[[dict], None]:
    """The function by which a trial reports metrics: ``ray.tune.report`` of today, ``ray.air.session.report`` in 2.6.

    ``ray.tune.report`` of 2.6 is another function, which takes keywords.

    Raises:
        UserError: a Ray of another way.
    """
    from ray import tune

    if "metrics" in inspect.signature(tune.report).parameters:
        return tune.report
    try:
        from ray.air.session import report
    except ImportError as error:
        raise UserError(f"this version of Ray reports metrics in no known way; run: {install_extra('tune')}") from error
    return report


def tuner_state() -> tuple[str, Any]:
    """Inside a trial: Ray's name of it, and the checkpoint that it is to go on from, or None; moved like ``report``."""
    from ray import tune

    if hasattr(tune, "get_context"):
        return tune.get_context().get_trial_id(), tune.get_checkpoint()
    from ray.air import session

    return session.get_trial_id(), session.get_checkpoint()


def tuner_settings() -> ModuleType:
    """The module whose ``RunConfig``, ``FailureConfig`` and ``Checkpoint`` Ray's Tuner takes.

    It is ``ray.tune`` today, in 2.6 ``ray.air``.
    """
    from ray import air, tune

    return tune if hasattr(tune, "RunConfig") else air


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
    except (OSError, UnicodeError) as error:
        # Of a name that no host can have, the system is not asked.
        reason = str(error).partition(". ")[0] if address == "auto" else getattr(error, "strerror", None) or error
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
        # Ray 2.6. It prints a traceback where nothing answers.
        with redirect_stderr(io.StringIO()):
            return ray._raylet.check_health(address, timeout=RAY_ANSWERS_WITHIN)
    # Later versions can ask only with limits that are too long for a user who waits; the process may need to be ended.
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", f"--address={address}"]
    try:
        # No shell, and the address is HOST:PORT.
        asked = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=2 * RAY_ANSWERS_WITHIN
        )
    except subprocess.TimeoutExpired:
        return False
    if asked.returncode:
        raise RuntimeError(asked.stderr.strip().rpartition("\n")[2])
    return True
