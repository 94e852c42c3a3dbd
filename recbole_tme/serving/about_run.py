"""What a run directory tells of a served model besides the model: its results, its date and a few test sessions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_tme.errors import UserError
from recbole_tme.utils.shapes import read_json

if TYPE_CHECKING:
    from recbole_tme.serving.recommender import Recommender

# What the page shows of a model.
SHOWN = ("hit@20", "mrr@20")
# An interval is shown to a tenth of a per cent.
RESAMPLES = 2_000
STAMP = re.compile(r"^(\d{4})(\d{2})(\d{2})T\d{6}-")
_NOTHING = type(None)
FACTS_SHAPE = {
    "metrics": {str: float},
    "intervals": (_NOTHING, {str: [float]}),
    "trained": (_NOTHING, str),
    "train_instances": int,
    "test_sessions": int,
    "refitted": bool,
}
EXAMPLES_SHAPE = {"examples?": (_NOTHING, [{"session": [str], "target": str, "rank": float}])}


def run_facts(path: Path) -> dict[str, Any]:
    """Metrics on the test set, 95 % intervals of those of :data:`SHOWN`, the date, and the sizes of the data, as
    :data:`FACTS_SHAPE` says.

    Reading a run needs RecBole, as its configuration does.

    Raises:
        UserError: the run's results cannot be read.
    """
    from recbole_tme.runs.directory import RunDirectory

    run = RunDirectory.open(path)
    results = run.read_metrics()
    stamp = STAMP.match(path.resolve().name)
    return {
        "metrics": results["test"],
        "intervals": _intervals(run.ranks_file, results["model"]) if run.ranks_file.is_file() else None,
        "trained": "-".join(stamp.groups()) if stamp else None,
        "train_instances": results["protocol"]["train_instances"],
        "test_sessions": results["protocol"]["test_sessions"],
        # Its results are then those of the run that chose its epochs.
        "refitted": run.refit_file.is_file(),
    }


def _intervals(ranks_file: Path, model: str) -> dict[str, list[float]]:
    from recbole_tme.evaluation.ranks import Ranks
    from recbole_tme.evaluation.significance import estimate

    ranks = Ranks.load(ranks_file)
    if not len(ranks):
        return {}
    lines = estimate({model: [ranks]}, SHOWN, resamples=RESAMPLES)
    return {line.metric: [line.low, line.high] for line in lines}


def read_examples(path: Path, recommender: Recommender) -> list[dict[str, Any]]:
    """The test sessions that a run shows: ``session`` and ``next`` in items with their titles, and the ``rank`` that
    the model gave to the next one; empty where there are none, as in a bundle, which
    is handed on and so holds nobody's sessions."""
    file = path / "details.json"
    if not file.is_file():
        return []
    try:
        found = read_json(file, EXAMPLES_SHAPE, "").get("examples") or []
    except UserError:
        # Examples are a help to a reader: a server without them serves.
        return []

    def named(item: str) -> dict[str, str | None]:
        return {"item": item, "title": recommender.titles.get(item)}

    return [
        {"session": [named(item) for item in one["session"]], "next": named(one["target"]), "rank": one["rank"]}
        for one in found
    ]
