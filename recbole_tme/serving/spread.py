"""Answers for many sessions: on the cores of this machine or on a Ray cluster, in the order of the sessions."""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_tme.errors import UserError, first_line
from recbole_tme.serving.answers import Recommendation
from recbole_tme.serving.recommender import Recommender
from recbole_tme.serving.rules.rules import GivenRules
from recbole_tme.utils.processes import end_with_parent

# Sessions that a process answers before it is given more.
BLOCK = 512
Answers = Callable[[Iterable[list[str]], int, bool, GivenRules], Iterator[Recommendation]]
# In a process that was forked to answer: the recommender, which it has from its parent.
_inherited: Recommender | None = None


@dataclass(frozen=True)
class Loading:
    """How another machine's process loads the model; paths must mean the same there.

    Attributes:
        path, device, index, items, new_items: as for :meth:`Recommender.load`.
        plugins: files that define models.
    """

    path: Path
    device: str = "cpu"
    index: str | None = None
    items: Path | None = None
    plugins: tuple[Path, ...] = ()
    new_items: tuple[Path, ...] = ()


def on_cores(recommender: Recommender, processes: int) -> Answers:
    """Answers by forked processes, equal to the recommender's own; a few sessions are answered by this process.

    To be used before this process has started threads.

    Args:
        recommender: on the CPU.
        processes: how many.
    """
    if processes < 2 or not _can_fork():
        return recommender.answers

    def answers(
        sessions: Iterable[list[str]], k: int = 20, exclude_seen: bool = False, rules: GivenRules = None
    ) -> Iterator[Recommendation]:
        blocks = _blocks(sessions)
        first = list(itertools.islice(blocks, 2))
        if len(first) < 2:
            yield from recommender.answers(itertools.chain(*first), k, exclude_seen, rules)
            return
        context = multiprocessing.get_context("fork")
        pool = ProcessPoolExecutor(processes, context, _inherit, (recommender,))
        try:
            waiting: deque = deque()
            for block in itertools.chain(first, blocks):
                waiting.append(pool.submit(_answer_inherited, block, k, exclude_seen, rules))
                # So that a long file is not read ahead of what is written.
                if len(waiting) > 2 * processes:
                    yield from waiting.popleft().result()
            for late in waiting:
                yield from late.result()
        except BrokenProcessPool:
            raise UserError(
                "a process that answers was killed, perhaps for want of memory; use --processes=1"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)

    return answers


def on_cluster(loading: Loading) -> Answers:
    """Answers by the workers of the Ray cluster that this process is connected to, each with a model of its own.

    To be used inside :func:`recbole_tme.experiment.cluster.connected`.

    Raises:
        UserError: while answers are taken, where a worker cannot load the model or was lost twice.
    """

    def answers(
        sessions: Iterable[list[str]], k: int = 20, exclude_seen: bool = False, rules: GivenRules = None
    ) -> Iterator[Recommendation]:
        from recbole_tme.experiment.cluster import call_all

        calls = [(loading, block, k, exclude_seen, rules) for block in _blocks(sessions)]
        done: dict[int, list[Recommendation]] = {}
        wanted = 0
        for outcome in call_all(_answer_anew, calls):
            if isinstance(outcome.error, UserError):
                raise outcome.error
            if outcome.error is not None:
                reason = first_line(outcome.error)
                raise UserError(f"a worker of the cluster failed ({reason}); is {loading.path} there, too?")
            done[outcome.index] = outcome.value
            while wanted in done:
                yield from done.pop(wanted)
                wanted += 1

    return answers


def _can_fork() -> bool:
    return "fork" in multiprocessing.get_all_start_methods()


def _blocks(sessions: Iterable[list[str]]) -> Iterator[list[list[str]]]:
    sessions = iter(sessions)
    while block := list(itertools.islice(sessions, BLOCK)):
        yield block


def _inherit(recommender: Recommender) -> None:
    global _inherited
    # Ctrl-C is the parent's affair.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _inherited = recommender
    threading.Thread(target=end_with_parent, daemon=True).start()


def _answer_inherited(block: list[list[str]], *wanted: Any) -> list[Recommendation]:
    assert _inherited is not None
    return list(_inherited.answers(block, *wanted))


def _answer_anew(loading: Loading, block: list[list[str]], *wanted: Any) -> list[Recommendation]:
    return list(_loaded(loading).answers(block, *wanted))


@functools.lru_cache(maxsize=1)
def _loaded(loading: Loading) -> Recommender:
    """The model, loaded once in each worker."""
    from recbole_tme.models.registry import load_plugin

    for file in loading.plugins:
        load_plugin(file)
    return Recommender.load(loading.path, loading.device, loading.index, loading.items, loading.new_items)
