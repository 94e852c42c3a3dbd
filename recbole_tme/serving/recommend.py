"""``recbole-tme recommend``: recommendations for sessions on the command line, in a file or in a stream."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator
from typing import BinaryIO, TextIO

from recbole_tme.serving.answers import Skipped
from recbole_tme.serving.recommender import Recommender
from recbole_tme.serving.rules.rules import GivenRules
from recbole_tme.serving.session_files import NamedSession
from recbole_tme.serving.spread import Answers

# Rows of a Parquet file that are written at once.
_BLOCK = 100_000


def write_recommendations(
    recommender: Recommender,
    sessions: Iterable[NamedSession],
    text: TextIO,
    k: int,
    exclude_seen: bool,
    rules: GivenRules = None,
    answers: Answers | None = None,
) -> Skipped:
    """Write the recommendations for a stream of sessions as CSV, a batch at a time; returns what was skipped.

    Args:
        recommender: of the model.
        sessions: with their names.
        text: the file.
        k, exclude_seen, rules: as for :meth:`Recommender.answers`.
        answers: what answers in the recommender's place, equally; None for itself.
    """
    skipped, titled = Skipped(), bool(recommender.titles)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_columns(titled))
    for session, rank, item, title, score, source in _rows(
        recommender, sessions, k, exclude_seen, skipped, rules, answers
    ):
        # Nine digits are all that a float32 has.
        writer.writerow([session, rank, item, *([title] if titled else []), f"{score:.9g}", source])
    return skipped


def write_parquet(
    recommender: Recommender,
    sessions: Iterable[NamedSession],
    file: BinaryIO,
    k: int,
    exclude_seen: bool,
    rules: GivenRules = None,
    answers: Answers | None = None,
) -> Skipped:
    """As :func:`write_recommendations`, in Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    skipped, titled = Skipped(), bool(recommender.titles)
    kinds = [pa.string(), pa.int32(), pa.string(), pa.string(), pa.float32(), pa.string()]
    places = [k for k in range(6) if titled or k != 3]
    schema = pa.schema(list(zip(_columns(titled), [kinds[k] for k in places])))
    rows = _rows(recommender, sessions, k, exclude_seen, skipped, rules, answers)
    with pq.ParquetWriter(file, schema) as writer:
        while block := list(itertools.islice(rows, _BLOCK)):
            columns = list(zip(*block))
            arrays = [pa.array(columns[place], kinds[place]) for place in places]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return skipped


def write(
    recommender: Recommender, sessions: Iterable[NamedSession], file: BinaryIO, ending: str, **options
) -> Skipped:
    """Write recommendations into a file of bytes, in Parquet where its name ends so, otherwise as CSV."""
    if ending == ".parquet":
        return write_parquet(recommender, sessions, file, **options)
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    skipped = write_recommendations(recommender, sessions, text, **options)
    text.flush()
    text.detach()
    return skipped


def _columns(titled: bool) -> list[str]:
    return ["session", "rank", "item", *(["title"] if titled else []), "score", "source"]


def _rows(
    recommender: Recommender,
    sessions: Iterable[NamedSession],
    k: int,
    exclude_seen: bool,
    skipped: Skipped,
    rules: GivenRules,
    answers: Answers | None,
) -> Iterator[tuple]:
    names, clicks = itertools.tee(sessions)
    found = (answers or recommender.answers)((session.items for session in clicks), k, exclude_seen, rules)
    for session, answer in zip(names, found):
        skipped.add(answer)
        for rank, (item, score) in enumerate(zip(answer.items, answer.scores), start=1):
            yield session.name, rank, item, recommender.titles.get(item, ""), score, answer.source
