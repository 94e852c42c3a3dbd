"""What a run directory says of a model besides its accuracy: costs, curves, spectrum and examples."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recbole_tme.errors import UserError
from recbole_tme.report.evaluated import ModelRuns
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.runs.epochs import counted_from_one
from recbole_tme.utils.shapes import read_json

BEYOND = ("coverage", "gini", "popularity", "target_popularity")


@dataclass(frozen=True)
class Costs:
    """Means over a model's runs; ``None`` where the runs do not say.

    Attributes:
        parameters: how many are trained.
        epoch_seconds: of training.
        query_ms: milliseconds to score the catalogue for one session.
        peak_memory_mb: of the run's process.
        device: what the figures were taken on.
    """

    parameters: float | None
    epoch_seconds: float | None
    query_ms: float | None
    peak_memory_mb: float | None
    device: str | None


_NOTHING = type(None)
SHAPE = {
    "cost?": (
        _NOTHING,
        {
            **dict.fromkeys(("query_ms?", "peak_memory_mb?", "threads?"), (_NOTHING, float)),
            "device?": (_NOTHING, str),
        },
    ),
    "beyond_accuracy?": (_NOTHING, {str: (_NOTHING, float)}),
    "spectrum?": (_NOTHING, [float]),
    "examples?": (
        _NOTHING,
        [{"instance": int, "session": [str], "target": str, "rank": float, "recommended": [str]}],
    ),
}


def read_details(run: RunDirectory) -> dict:
    """A run's ``details.json``; empty where the file is missing.

    Raises:
        UserError: the file is damaged.
    """
    file = run.details_file
    if not file.is_file():
        return {}
    return read_json(file, SHAPE, "this is not the details.json of a run; remove it, or run the model again")


def costs(model: ModelRuns, details: Sequence[Mapping]) -> Costs:
    """What a model costs, from its runs and their details."""
    results = [run.result for run in model.runs]
    measured = [one.get("cost") or {} for one in details]
    devices = {
        f"{one['device']}, {one.get('threads', '?')} thread{'s' * (one.get('threads') != 1)}"
        for one in measured
        if one.get("device")
    }
    return Costs(
        parameters=mean_of(results, "parameters"),
        epoch_seconds=mean_of(results, "epoch_seconds"),
        query_ms=mean_of(measured, "query_ms"),
        peak_memory_mb=mean_of(measured, "peak_memory_mb"),
        device="; ".join(sorted(devices)) or None,
    )


def beyond_accuracy(details: Sequence[Mapping]) -> dict[str, float | None]:
    """Mean over runs of each figure that describes the recommended items, by name."""
    measured = [one.get("beyond_accuracy") or {} for one in details]
    return {name: mean_of(measured, name) for name in BEYOND}


def mean_of(rows: Sequence[Mapping], key: str) -> float | None:
    """Mean of a figure over the rows that have it; ``None`` where none does."""
    values = [row[key] for row in rows if row.get(key) is not None]
    return statistics.fmean(values) if values else None


def read_history(run: RunDirectory) -> list[dict[str, float | str]]:
    """The rows of ``history.csv``, figures as floats, epochs counted from 1; empty without the file.

    Raises:
        UserError: a cell that should be a figure is not one.
    """
    file = run.history_file
    if not file.is_file():
        return []
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            return counted_from_one([_figures(row, file) for row in csv.DictReader(lines)])
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{file}: {error}; it should be the history.csv that a run wrote") from error


def _figures(row: Mapping[str, str], file: Path) -> dict[str, float | str]:
    try:
        return {key: value if key == "phase" else float(value) for key, value in row.items() if value}
    except (ValueError, TypeError) as error:
        raise UserError(f"{file}: {error}; it should hold figures, as a run wrote them") from error
