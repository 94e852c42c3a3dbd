"""Requests that arrive while others are being scored are scored together: one pass over the catalogue serves all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from recbole_tme.serving.answers import Recommendation
from recbole_tme.serving.reasons import Reasons
from recbole_tme.serving.recommender import Recommender

# Sessions of a batch: from here on a larger one makes nothing cheaper, and its first session waits for its last.
LARGEST_BATCH = 64


class Question(NamedTuple):
    """One request: sessions of external item ids, and the options that they share."""

    sessions: Sequence[Sequence[str]]
    k: int
    exclude_seen: bool
    explain: bool


class Answer(NamedTuple):
    """What one session gets; ``reasons`` is None where they were not asked for or there are none."""

    recommendation: Recommendation
    reasons: Reasons | None


class Batcher:
    """Answers questions in a thread of its own, so that the server goes on listening.

    A question that finds the thread idle is answered at once; those that come meanwhile are the next batch, so that
    batches grow with the load and nobody waits for company. Use it as an asynchronous context. Nobody's answer depends
    on who else asked: where a batch fails, each question is answered, or fails, by itself.

    Args:
        recommender: who answers.
    """

    def __init__(self, recommender: Recommender):
        self._recommender = recommender

    async def __aenter__(self) -> Batcher:
        self._waiting: asyncio.Queue[tuple[Question, asyncio.Future]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scoring")
        self._task = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *_) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown()

    async def ask(self, question: Question) -> list[Answer]:
        """The answers to a question's sessions.

        Raises:
            UserError: as :meth:`Recommender.answers`.
        """
        answers = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((question, answers))
        return await answers

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
            questions = [question for question, _ in batch]
            outcomes = await asyncio.get_running_loop().run_in_executor(self._thread, self._outcomes, questions)
            for (_, answers), outcome in zip(batch, outcomes):
                if answers.done():
                    continue
                if isinstance(outcome, Exception):
                    answers.set_exception(outcome)
                else:
                    answers.set_result(outcome)

    def _outcomes(self, questions: Sequence[Question]) -> list[list[Answer] | Exception]:
        """The answers to each question, or what went wrong with it."""
        try:
            return self._answers(questions)
        except Exception as error:
            if len(questions) <= 1:
                return [error]
        return [outcome for question in questions for outcome in self._outcomes([question])]

    def _answers(self, questions: Sequence[Question]) -> list[list[Answer]]:
        found: dict[bool, Iterator[Recommendation]] = {}
        for exclude_seen in {question.exclude_seen for question in questions}:
            together = [question for question in questions if question.exclude_seen == exclude_seen]
            sessions = [session for question in together for session in question.sessions]
            # The best ten are the first ten of the best hundred.
            most = max(question.k for question in together)
            found[exclude_seen] = iter(list(self._recommender.answers(sessions, most, exclude_seen)))
        return [
            [self._answer(question, session, next(found[question.exclude_seen])) for session in question.sessions]
            for question in questions
        ]

    def _answer(self, question: Question, session: Sequence[str], best: Recommendation) -> Answer:
        k = question.k
        reasons = self._recommender.explain(session) if question.explain else None
        return Answer(best._replace(items=best.items[:k], scores=best.scores[:k]), reasons)
