"""Requests that arrive while others are being scored are scored together: one pass over the catalogue serves all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from recbole_tme.serving.answers import Recommendation
from recbole_tme.serving.reasons import Reasons
from recbole_tme.serving.recommender import Recommender
from recbole_tme.serving.rules.rules import Rules

# Sessions of a batch: from here on a larger one makes nothing cheaper, and its first session waits for its last.
LARGEST_BATCH = 64


class Question(NamedTuple):
    """One request: sessions of external item ids, and the options that they share."""

    sessions: Sequence[Sequence[str]]
    k: int
    exclude_seen: bool
    explain: bool
    rules: tuple[Rules, ...] = ()


class Answer(NamedTuple):
    """What one session gets.

    Attributes:
        recommendation: the list.
        reasons: None where they were not asked for or there are none.
        titles: of the items that the answering model knows.
    """

    recommendation: Recommendation
    reasons: Reasons | None
    titles: Mapping[str, str]


class Batcher:
    """Answers questions in a thread of its own, so that the server goes on listening.

    A question that finds the thread idle is answered at once; those that come meanwhile are the next batch, so that
    batches grow with the load and nobody waits for company. Use it as an asynchronous context. Nobody's answer depends
    on who else asked: where a batch fails, each question is answered, or fails, by itself.

    Args:
        current: gives who answers, at the beginning of each batch: a recommender may be replaced between two.
        measure: told the number of sessions of each batch.
    """

    def __init__(self, current: Callable[[], Recommender], measure: Callable[[int], None] = lambda _: None):
        self._current = current
        self._measure = measure

    async def __aenter__(self) -> Batcher:
        self._waiting: asyncio.Queue[tuple[Question, asyncio.Future]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scoring")
        # Explanations are made one by one, and nobody else has to wait for them.
        self._explaining = ThreadPoolExecutor(1, thread_name_prefix="explaining")
        self._task = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *_) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown()
        self._explaining.shutdown()

    async def ask(self, question: Question) -> list[Answer]:
        """The answers to a question's sessions; where a smaller model has taken over meanwhile, of as many items as it
        has.

        Raises:
            UserError: as :meth:`Recommender.answers`.
        """
        answers = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((question, answers))
        recommender, found = await answers
        reasons = [None] * len(found)
        if question.explain:
            explain = partial(_explanations, recommender, question.sessions)
            reasons = await asyncio.get_running_loop().run_in_executor(self._explaining, explain)
        return [Answer(best, why, recommender.titles) for best, why in zip(found, reasons)]

    async def _work(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            # Whoever is already there comes along.
            await asyncio.sleep(0)
            size = len(batch[0][0].sessions)
            while not self._waiting.empty() and size < LARGEST_BATCH:
                batch.append(self._waiting.get_nowait())
                size += len(batch[-1][0].sessions)
            # Who has hung up needs no answer.
            batch = [(question, answers) for question, answers in batch if not answers.done()]
            if not batch:
                continue
            self._measure(sum(len(question.sessions) for question, _ in batch))
            recommender, questions = self._current(), [question for question, _ in batch]
            work = partial(_outcomes, recommender, questions)
            outcomes = await asyncio.get_running_loop().run_in_executor(self._thread, work)
            for (_, answers), outcome in zip(batch, outcomes):
                if answers.done():
                    continue
                if isinstance(outcome, Exception):
                    answers.set_exception(outcome)
                else:
                    answers.set_result((recommender, outcome))
            # While nobody asks, a model that was replaced is to be let go of.
            del recommender, work


def _outcomes(recommender: Recommender, questions: Sequence[Question]) -> list[list[Recommendation] | Exception]:
    """The answers to each question, or what went wrong with it."""
    try:
        return _answers(recommender, questions)
    except Exception as error:
        if len(questions) <= 1:
            return [error]
    return [outcome for question in questions for outcome in _outcomes(recommender, [question])]


def _answers(recommender: Recommender, questions: Sequence[Question]) -> list[list[Recommendation]]:
    together: dict[tuple, list[Question]] = {}
    for question in questions:
        together.setdefault(_kind(question), []).append(question)
    found: dict[tuple, Iterator[Recommendation]] = {}
    for kind, alike in together.items():
        sessions = [session for question in alike for session in question.sessions]
        # The best ten are the first ten of the best hundred.
        most = min(max(question.k for question in alike), len(recommender.items))
        found[kind] = iter(list(recommender.answers(sessions, most, alike[0].exclude_seen, alike[0].rules or None)))
    rows = [(question, found[_kind(question)]) for question in questions]
    return [[_first(question.k, next(row)) for _ in question.sessions] for question, row in rows]


def _kind(question: Question) -> tuple:
    """What questions that are scored together have in common; with rules a shorter list is no beginning of a longer."""
    return question.exclude_seen, question.rules, question.k if question.rules else None


def _first(k: int, best: Recommendation) -> Recommendation:
    return best._replace(items=best.items[:k], scores=best.scores[:k])


def _explanations(recommender: Recommender, sessions: Sequence[Sequence[str]]) -> list[Reasons | None]:
    return [recommender.explain(session) for session in sessions]
