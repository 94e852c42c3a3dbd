"""``recbole-tme recommend``: recommendations for sessions on the command line, in a file or in a stream."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable
from typing import TextIO

from recbole_tme.serving.answers import Skipped
from recbole_tme.serving.recommender import Recommender
from recbole_tme.serving.session_files import NamedSession


def write_recommendations(
    recommender: Recommender, sessions: Iterable[NamedSession], text: TextIO, k: int, exclude_seen: bool
) -> Skipped:
    """Write the recommendations for a stream of sessions as CSV, a batch at a time; returns what was skipped."""
    names, clicks = itertools.tee(sessions)
    answers = recommender.answers((session.items for session in clicks), k, exclude_seen)
    writer, skipped, titled = csv.writer(text, lineterminator="\n"), Skipped(), bool(recommender.titles)
    writer.writerow(["session", "rank", "item", *(["title"] if titled else []), "score", "source"])
    for session, answer in zip(names, answers):
        skipped.add(answer)
        for rank, (item, score) in enumerate(zip(answer.items, answer.scores), start=1):
            title = [recommender.titles.get(item, "")] if titled else []
            # Nine digits are all that a float32 has.
            writer.writerow([session.name, rank, item, *title, f"{score:.9g}", answer.source])
    return skipped
