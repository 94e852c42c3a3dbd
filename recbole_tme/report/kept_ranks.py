"""The ranks behind a table, kept so that anybody can redo its tests: small copies of runs, and their checksums."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from recbole_tme.config.result_settings import result_settings
from recbole_tme.errors import UserError
from recbole_tme.evaluation.ranks import Ranks
from recbole_tme.runs.directory import RunDirectory, finished_runs
from recbole_tme.utils.files import replacing, writing


def keep_ranks(paths: Iterable[Path], folder: Path) -> None:
    """Copy runs without their weights: what ``significance`` and ``report`` read of them, some 100 kB for 25,000 test
    instances, to ``<folder>/<data set>/<model>/<name of the run>``.

    Args:
        paths: run directories, or folders of them.
        folder: is made where it is missing; runs of the same name in it are replaced.

    Raises:
        UserError: a path holds no finished run, a file of a run is missing, or the folder cannot be written.
    """
    for run in finished_runs(paths):
        copy = folder / run.path.parent.parent.name / run.path.parent.name / run.path.name
        with writing(copy):
            copy.mkdir(parents=True, exist_ok=True)
            # The metrics last: they are what makes a run count as finished.
            for file in (run.config_file, run.environment_file, run.ranks_file, *_shown(run), run.metrics_file):
                with file.open("rb") as source, replacing(copy / file.name) as target:
                    shutil.copyfileobj(source, target)


def _shown(run: RunDirectory) -> list[Path]:
    """What a report shows of a run where it is there."""
    files = (run.details_file, run.history_file, run.catalogue_file)
    return [file for file in files if file.is_file()]


def check_ranks(paths: Iterable[Path], results: Sequence[dict]) -> list[str]:
    """Compare the ranks of runs with the checksums that were stored when their results were collected.

    Args:
        paths: run directories, or folders of them.
        results: as :func:`~recbole_tme.report.tables.read_results` returns them.

    Returns:
        A line per run: ``same ranks``, ``other ranks`` or ``no checksum`` and its directory.

    Raises:
        UserError: a run has no result with its settings and seed, or its ranks cannot be read.
    """
    lines = []
    for run in finished_runs(paths):
        metrics, settings = run.read_metrics(), result_settings(run.read_config())
        own = [
            result
            for result in results
            if (result["model"], result["seed"]) == (metrics["model"], metrics["seed"])
            and result["protocol"] == metrics["protocol"]
            and result.get("settings") == settings
        ]
        if not own:
            raise UserError(f"{run.path}: no collected result has its model, seed, protocol and settings")
        checksums = {result["ranks_sha256"] for result in own if "ranks_sha256" in result}
        same = Ranks.load(run.ranks_file).checksum in checksums
        lines.append(f"{'same ranks' if same else 'other ranks' if checksums else 'no checksum'}: {run.path}")
    return lines
