"""From which model an updated one comes, and whether it took that one's place: ``lineage.json`` of a run.

===================  ==================================================================================
``parent``           the run it was made from: path and SHA-256 of its weights
``generation``       updates since a model was trained from nothing, this one included
``ancestors``        the parents before, the latest first
``log``              what was read, kept and dropped of the new log, and its files' SHA-256
``until``            time of the last click of the new log
``sessions``         how many are old, new, forgotten, held out, and gone over in training
``items``            how many kept their vectors, where new ones' come from, and how many are gone
``settings``         of the update
``metric``           that decides: ``before`` and ``after`` on the sessions held out, the difference, its
                     interval and p value
``promoted``         whether the new model took the old one's place
``seconds``          of the whole update
===================  ==================================================================================
"""

from __future__ import annotations

from typing import Any

from recbole_tme.runs.directory import RunDirectory
from recbole_tme.utils.shapes import read_json

SHAPE = {
    "parent": {"path": str, "weights_sha256": str},
    "generation": int,
    "ancestors": [dict],
    "promoted": bool,
    "sessions": {str: int},
}


def read_lineage(run: RunDirectory) -> dict[str, Any]:
    """What ``update`` wrote into a run that it made.

    Raises:
        UserError: the file is missing or damaged.
    """
    lineage: dict[str, Any] = read_json(run.lineage_file, SHAPE, "update the run that it was made from again")
    return lineage


def was_rejected(run: RunDirectory) -> bool:
    """Whether ``update`` made a run and did not promote it, so that it is nobody's newest model.

    Raises:
        UserError: its lineage is damaged.
    """
    return run.lineage_file.is_file() and not read_lineage(run)["promoted"]
