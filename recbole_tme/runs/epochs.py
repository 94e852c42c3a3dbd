"""Epochs as a run's files have them: counted from 1, in the files of the first versions from 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def selected_epoch(metrics: Mapping[str, Any]) -> int:
    """The epoch that validation chose, counted from 1; 0 of a model without epochs.

    Args:
        metrics: the content of ``metrics.json``; the first versions counted from 0, in ``best_epoch``.
    """
    return int(metrics["epoch"]) if "epoch" in metrics else int(metrics.get("best_epoch", -1)) + 1


def counted_from_one(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a history with epochs counted from 1; the first versions counted from 0."""
    if all(row.get("epoch", 1) >= 1 for row in rows):
        return list(rows)
    return [row | {"epoch": row["epoch"] + 1} if "epoch" in row else row for row in rows]
