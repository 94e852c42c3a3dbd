"""The lineage of an updated model, the test that promotes it, and the link that then leads to it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from recbole_tme.evaluation.metrics import evaluate, metric_key
from recbole_tme.evaluation.ranks import Ranks
from recbole_tme.evaluation.significance import compare
from recbole_tme.runs.lineage import read_lineage
from recbole_tme.updating.parent import Parent
from recbole_tme.utils.files import partial_path, remove_leftovers, writing

PROMOTE = ("if-better", "always", "never")
# Significance level of the test that may keep a worse model from its promotion.
LEVEL = 0.05


def ancestry(parent: Parent) -> dict[str, Any]:
    """``parent``, ``generation`` and ``ancestors`` of an update.

    Raises:
        UserError: the parent's own lineage cannot be read.
    """
    directory = parent.directory
    described = {"path": str(directory.path.resolve()), "weights_sha256": parent.weights_sha256}
    if not directory.lineage_file.is_file():
        return {"parent": described, "generation": 1, "ancestors": []}
    own = read_lineage(directory)
    return {
        "parent": described,
        "generation": own["generation"] + 1,
        "ancestors": [own["parent"], *own["ancestors"]],
    }


def verdict(before: Ranks, after: Ranks, metric: str, topk, metrics, promote: str) -> dict[str, Any]:
    """How both models did on the same instances, and whether the new one is promoted.

    The test is paired, over whole sessions. ``if-better`` promotes unless it finds the new model worse: on a day's
    sessions two models seldom differ beyond chance, and the newer one knows the newer items.

    Args:
        before, after: ranks of the old and of the new model.
        metric: that decides, such as "MRR@20".
        topk, metrics: what else is reported.
        promote: one of :data:`PROMOTE`.
    """
    (line,) = compare(
        {"before": [before], "after": [after]}, [("after", "before")], [metric], seed_independent={"before", "after"}
    )
    is_worse = line.difference < 0 and line.p < LEVEL
    return {
        "metric": metric_key(metric),
        "before": evaluate(before, topk, metrics),
        "after": evaluate(after, topk, metrics),
        "instances": len(after),
        "difference": line.difference,
        "low": line.low,
        "high": line.high,
        "p": line.p,
        "promoted": promote == "always" or (promote == "if-better" and not is_worse),
    }


def move_link(link: Path, target: Path) -> None:
    """Let a symbolic link lead to another folder, in one step.

    Raises:
        UserError: the folder that it is in cannot be written to.
    """
    temporary = partial_path(link)
    remove_leftovers(link.parent, link.name)
    with writing(link):
        os.symlink(os.path.relpath(target.resolve(), link.parent.resolve()), temporary)
        try:
            os.replace(temporary, link)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
