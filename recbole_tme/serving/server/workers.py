"""A server of several processes that share one socket."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable

from recbole_tme.errors import UserError

logger = logging.getLogger(__name__)

# A worker that ends sooner is not replaced: the next one would end as soon.
SHORTEST_LIFE = 2.0
FORWARDED = (signal.SIGTERM, signal.SIGINT)


def run_workers(count: int, work: Callable[[], None], ready: Callable[[], None]) -> None:
    """Do the same work in ``count`` processes until SIGINT or SIGTERM; one that dies is replaced, SIGHUP goes to all.

    They are forks, which share the memory of the models that are loaded already.

    Args:
        count: how many.
        work: serves until SIGTERM.
        ready: called when signals can stop them.

    Raises:
        UserError: a worker died as soon as it was started; its own message was printed before.
    """
    born: dict[int, float] = {}
    stopping = False

    def forward(signal_number, _) -> None:
        nonlocal stopping
        stopping = stopping or signal_number in FORWARDED
        for worker in list(born):
            os.kill(worker, signal.SIGTERM if signal_number in FORWARDED else signal_number)

    handled = [*FORWARDED, signal.SIGHUP]
    # Of this pipe the parent alone holds the writing end: the workers learn by it that the parent was killed.
    alive = os.pipe()
    before = {number: signal.signal(number, forward) for number in handled}
    try:
        for _ in range(count):
            _start(work, born, before, alive)
        ready()
        while born:
            worker, status = os.wait()
            lived = time.monotonic() - born.pop(worker)
            if stopping:
                continue
            if lived < SHORTEST_LIFE:
                forward(signal.SIGTERM, None)
                while born:
                    born.pop(os.wait()[0])
                raise UserError(f"a worker ended with {_ending(status)} as soon as it was started")
            logger.error("worker %d ended with %s; another one takes its place", worker, _ending(status))
            _start(work, born, before, alive)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for end in alive:
            os.close(end)


def _end_with_parent(alive: int) -> None:
    os.read(alive, 1)
    # As when the parent passes a signal on: what is being answered is answered first.
    os.kill(os.getpid(), signal.SIGTERM)


def _start(work: Callable[[], None], born: dict[int, float], handlers: dict, alive: tuple[int, int]) -> None:
    signals = set(handlers)
    # A signal between a fork and its entry in the table would miss the new worker.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    worker = os.fork()
    if worker:
        born[worker] = time.monotonic()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        return
    code = 1
    try:
        for number in handlers:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        os.close(alive[1])
        threading.Thread(target=_end_with_parent, args=(alive[0],), daemon=True).start()
        work()
        code = 0
    except KeyboardInterrupt:
        code = 0
    except BaseException:
        logger.exception("a worker failed")
    finally:
        # Not through the parent's frames, which are this process's too.
        os._exit(code)


def _ending(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"signal {-code}" if code < 0 else f"exit code {code}"
