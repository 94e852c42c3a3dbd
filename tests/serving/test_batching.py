"""How the server puts requests together."""

import asyncio
import time

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs FastAPI, the extra serve")
pytest.importorskip("httpx", reason="FastAPI's test client needs httpx")


from recbole_tme.serving.answers import Recommendation
from recbole_tme.serving.server.batching import Batcher, Question


class Counting:
    """In the place of a recommender: recommends the session's own clicks, and writes down what it was asked."""

    items, titles = range(1000), {}

    def __init__(self):
        self.asked = []

    def answers(self, sessions, k, exclude_seen, rules=None):
        sessions = list(sessions)
        self.asked.append((sessions, k, exclude_seen))
        for session in sessions:
            if "bad" in session:
                raise ValueError(f"{session} is bad")
            yield Recommendation([*session, "more", "and more"][:k], np.arange(float(k)), "model", [])

    def explain(self, session):
        return None


def asked_together(questions, cancel=()):
    """What each gets who asks at the same time, and what the recommender was asked."""
    counting = Counting()

    async def main():
        async with Batcher(lambda: counting) as batcher:
            tasks = [asyncio.create_task(batcher.ask(question)) for question in questions]
            await asyncio.sleep(0)
            for number in cancel:
                tasks[number].cancel()
            return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)

    return asyncio.run(main()), counting.asked


def question(*sessions, k=1, exclude_seen=False, explain=False):
    return Question(sessions, k, exclude_seen, explain)


def test_questions_of_one_moment_are_scored_together():
    questions = [question([str(i)], k=1 + i % 3) for i in range(40)] + [question(["x"], ["y"], k=2)]
    answers, asked = asked_together(questions)
    assert [len(sessions) for sessions, _, _ in asked] == [42] and asked[0][1] == 3
    for one, found in zip(questions, answers):
        assert [answer.recommendation.items for answer in found] == [
            [*session, "more", "and more"][: one.k] for session in one.sessions
        ]
        assert all(len(answer.recommendation.scores) == one.k for answer in found)


def test_questions_that_come_while_others_are_scored_are_the_next_batch():
    class Slow(Counting):
        def answers(self, *asked):
            time.sleep(0.1)
            return super().answers(*asked)

    slow = Slow()

    async def main():
        async with Batcher(lambda: slow) as batcher:
            first = asyncio.create_task(batcher.ask(question(["first"])))
            await asyncio.sleep(0.03)
            assert slow.asked == [], "the first question waited for others instead of being scored"
            await asyncio.gather(first, *(batcher.ask(question([str(i)])) for i in range(70)))

    asyncio.run(main())
    assert [len(sessions) for sessions, _, _ in slow.asked] == [1, 64, 6]


def test_those_who_want_no_seen_items_are_scored_apart():
    answers, asked = asked_together([question([str(i)], exclude_seen=i % 2 == 0) for i in range(10)])
    assert sorted((flag, sessions) for sessions, _, flag in asked) == [
        (False, [[str(i)] for i in (1, 3, 5, 7, 9)]),
        (True, [[str(i)] for i in (0, 2, 4, 6, 8)]),
    ]
    assert [answer.recommendation.items for (answer,) in answers] == [[str(i)] for i in range(10)]


def test_one_that_fails_fails_alone():
    answers, _ = asked_together([question(["a"]), question(["bad"]), question(["b"])])
    assert isinstance(answers[1], ValueError)
    assert [answers[i][0].recommendation.items for i in (0, 2)] == [["a"], ["b"]]


def test_who_hangs_up_is_not_answered_and_the_others_are():
    answers, asked = asked_together([question(["a"]), question(["b"]), question(["c"])], cancel=[1])
    assert isinstance(answers[1], asyncio.CancelledError) and asked[0][0] == [["a"], ["c"]]
    assert [answers[i][0].recommendation.items for i in (0, 2)] == [["a"], ["c"]]
