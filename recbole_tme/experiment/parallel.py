"""One run in several processes, of which the first writes."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import multiprocessing

from recbole_tme.config.load import SessionConfig
from recbole_tme.errors import UserError
from recbole_tme.nn import distributed
from recbole_tme.utils.processes import end_with_parent, without_main_module

# Seconds that processes have to end by themselves once one has failed.
GRACE = 10
# Seconds that the process which writes has to end by itself once the parent is interrupted.
LAST_WORDS = 2


def in_processes(function: Callable, config: SessionConfig, *arguments: Any) -> Any:
    """Call ``function(config, *arguments)`` in ``nproc`` processes at once.

    Args:
        function: of a module's top level; it exchanges what it must by :mod:`recbole_tme.nn.distributed`.
        config: says how many processes (``nproc``) and on what device; on GPUs each process gets one of its own.
        arguments: further arguments, which can be pickled.

    Returns:
        What the main process's call returned.

    Raises:
        UserError: what a process raised, or that one was killed; the others are ended.
    """
    context = multiprocessing.get_context("spawn")
    results, errors = context.SimpleQueue(), context.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        meeting_point = Path(folder) / "meeting-point"
        # A model class that is defined in the main module can only be had from there.
        is_in_main = config.model_class.__module__ == "__main__"
        with nullcontext() if is_in_main else without_main_module():
            processes = multiprocessing.start_processes(
                _work,
                (config["nproc"], meeting_point, results, errors, function, config, arguments),
                nprocs=config["nproc"],
                join=False,
                start_method="spawn",
            )
        try:
            while not processes.join(grace_period=GRACE):
                pass
        except (multiprocessing.ProcessRaisedException, multiprocessing.ProcessExitedException) as error:
            raise _reason(errors, processes) or error from None
        finally:
            # An interrupt reaches the children of a terminal too, and the one that writes may finish; others train on.
            processes.processes[0].join(LAST_WORDS)
            for process in processes.processes:
                process.kill()
                process.join()
    return results.get()


def _work(rank: int, size: int, meeting_point: Path, results, errors, function, config, arguments) -> None:
    threading.Thread(target=end_with_parent, daemon=True).start()
    if config["device"].type == "cuda":
        config["device"] = torch.device("cuda", rank)
    torch.set_num_threads(config["threads"] or max(1, (os.cpu_count() or 1) // size))
    try:
        with distributed.group(rank, size, config["device"], meeting_point):
            result = function(config, *arguments)
    except UserError as error:
        # Before this process ends and its peers fail for want of it.
        errors.put(str(error))
        raise SystemExit(2) from None
    if rank == 0:
        results.put(result)


def _reason(errors, processes) -> UserError | None:
    """Why the first of the processes failed, where it is no bug."""
    if not errors.empty():
        return UserError(errors.get())
    killed = [process.exitcode for process in processes.processes if process.exitcode == -signal.SIGKILL]
    if killed:
        return UserError("a training process was killed, perhaps for want of memory; continue with --resume=<run>")
    return None
