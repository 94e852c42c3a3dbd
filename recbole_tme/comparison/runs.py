"""The runs of a comparison, each in a process of its own, so that what ends one of them costs one row.

A process that is killed takes nothing with it, and the memory that a run needed at most can be told.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any

import torch
from torch import multiprocessing

from recbole_tme.config.load import SessionConfig
from recbole_tme.errors import UserError
from recbole_tme.evaluation.protocol import Protocol
from recbole_tme.experiment.cluster import Resources, call_all, connected
from recbole_tme.experiment.loading import find_run
from recbole_tme.experiment.run import run
from recbole_tme.utils.files import writing
from recbole_tme.utils.processes import end_with_parent, without_main_module

# Seconds that a process has to end by itself once it is told to.
GRACE = 5
LESS_MEMORY = "lower train_batch_size or eval_batch_size, or run fewer at once"


@dataclass(frozen=True)
class Job:
    """One run to be made, or to be found finished.

    Attributes:
        row: the name of its row.
        config: its configuration.
        fingerprint: of the protocol that it has to have.
        log: the file that its process writes to.
    """

    row: str
    config: SessionConfig
    fingerprint: str
    log: Path


@dataclass(frozen=True)
class Ended:
    """How a job ended: with a finished run directory, or for a reason, in one line."""

    job: Job
    directory: Path | None = None
    reason: str | None = None


def run_here(
    jobs: Sequence[Job],
    workers: int = 1,
    on_epoch: Callable | None = None,
    on_begin: Callable[[Job], None] = lambda job: None,
) -> Generator[Ended, None, None]:
    """Do jobs in processes of this machine.

    The processes end with the caller: when it stops iterating, is interrupted or is killed.

    Args:
        jobs: what to do.
        workers: how many at once; each computes with its share of the threads that torch would use, unless its
            configuration says how many, and on one GPU after the other.
        on_epoch: called as ``on_epoch(job, epoch, valid_score)``, with the epoch counted from 1 and the score in per
            cent.
        on_begin: called with a job when its process starts.

    Yields:
        How each ended, in the order in which they do.
    """
    waiting = list(jobs)
    running: dict[Any, _Worker] = {}
    free = list(range(workers))
    try:
        while waiting or running:
            while waiting and free:
                worker = _Worker(waiting.pop(0), free.pop(0), workers)
                running[worker.receiver] = worker
                on_begin(worker.job)
            receiver: Any
            for receiver in connection.wait(list(running)):
                try:
                    kind, value = receiver.recv()
                except EOFError:
                    worker = running.pop(receiver)
                    free.append(worker.slot)
                    yield worker.ended()
                    continue
                if kind == "epoch":
                    if on_epoch is not None:
                        on_epoch(running[receiver].job, *value)
                else:
                    running[receiver].last_words = {kind: value}
    finally:
        stop([worker.process for worker in running.values()])


def run_on_cluster(jobs: Sequence[Job], address: str) -> Generator[Ended, None, None]:
    """Do jobs in a Ray cluster whose nodes all see the folders of data and runs.

    Args:
        jobs: what to do; each takes as many cores as its configuration has threads (one without), and a GPU where it
            computes on one.
        address: ``auto`` or ``HOST:PORT``.

    Yields:
        How each ended, in the order in which they do.

    Raises:
        UserError: Ray is not installed, or no cluster that is large enough answers.
    """
    config = jobs[0].config
    resources = Resources(config["threads"] or 1, int(config["device"].type == "cuda"))
    with connected(address, resources):
        for outcome in call_all(_alone, [(job,) for job in jobs], resources):
            yield outcome.value or Ended(jobs[outcome.index], reason=reason_of(outcome.error))


def _alone(job: Job) -> Ended:
    (ended,) = run_here([job])
    return ended


def already_done(job: Job) -> Ended | None:
    """How a job ended before, where nothing is left to do for it."""
    found = find_run(job.config, job.fingerprint)
    return Ended(job, directory=found.path) if found is not None and found.finished else None


def do(job: Job, tell: Callable[[str, Any], None]) -> Path:
    """Make one run, from whatever there is of it already, to a finished run directory.

    Args:
        job: which one.
        tell: called as ``tell("epoch", (epoch, valid_score))``.

    Raises:
        UserError: as ``run``; or the data changed since the comparison was planned.
    """
    config = job.config
    on_epoch = (lambda *epoch: tell("epoch", epoch)) if config["nproc"] == 1 else None
    directory = run(config, find_run(config, job.fingerprint), on_epoch)
    if Protocol.of_run(directory).fingerprint != job.fingerprint:
        raise UserError(f"data set {config['dataset']} changed while models were compared; start again")
    return directory.path


def reason_of(error: BaseException | None) -> str:
    """Why a run failed, in one line."""
    said = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, UserError):
        return said
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error):
        return f"out of memory; {LESS_MEMORY}"
    return f"{type(error).__name__}: {said}"


def reason_of_death(exit_code: int | None) -> str:
    """Why a process ended that could not say so itself, in one line."""
    if exit_code is None:
        return "the process did not end; see its log"
    if exit_code == -signal.SIGKILL:
        return f"the process was killed (SIGKILL), perhaps for want of memory; {LESS_MEMORY}"
    if exit_code < 0:
        return f"the process ended by {signal.Signals(-exit_code).name}; see its log"
    return f"the process ended with exit code {exit_code}; see its log"


def stop(processes: Sequence[Any]) -> None:
    """End processes, those that do not listen by force."""
    try:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(GRACE)
    finally:
        for process in processes:
            process.kill()
            process.join()


class _Worker:
    """A process that does one job."""

    def __init__(self, job: Job, slot: int, workers: int):
        self.job = job
        self.slot = slot
        self.last_words: dict[str, Any] = {}
        with writing(job.log):
            job.log.parent.mkdir(parents=True, exist_ok=True)
            job.log.touch()
        context = multiprocessing.get_context("spawn")
        self.receiver, sender = context.Pipe(duplex=False)
        threads = job.config["threads"] or (max(1, torch.get_num_threads() // workers) if workers > 1 else None)
        self.process = context.Process(target=_work, args=(sender, job, slot, threads))
        # What is ignored here is ignored there from its first moment on: an interrupt goes to all processes of a
        # terminal, and this one ends the others.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with without_main_module():
                self.process.start()
        finally:
            signal.signal(signal.SIGINT, before)
        # The process has the only sending end: when it is gone, so is the pipe.
        sender.close()

    def ended(self) -> Ended:
        self.process.join()
        self.receiver.close()
        if "done" in self.last_words:
            return Ended(self.job, directory=self.last_words["done"])
        return Ended(self.job, reason=self.last_words.get("failed") or reason_of_death(self.process.exitcode))


def _work(sender, job: Job, slot: int, threads: int | None) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    threading.Thread(target=end_with_parent, daemon=True).start()
    with job.log.open("a", buffering=1) as log:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log.fileno(), stream.fileno())
    faulthandler.enable()
    if threads is not None:
        torch.set_num_threads(threads)
    if job.config["device"].type == "cuda" and job.config["gpu_id"] == "":
        job.config["device"] = torch.device("cuda", slot % torch.cuda.device_count())
    try:
        directory = do(job, lambda *message: sender.send(message))
    except Exception as error:
        traceback.print_exc()
        sender.send(("failed", reason_of(error)))
    else:
        sender.send(("done", directory))
