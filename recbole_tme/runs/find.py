"""Which run is meant by a name: a run directory itself, a folder of runs, or ``latest``."""

from __future__ import annotations

from pathlib import Path

from recbole_tme.errors import UserError
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.runs.lineage import was_rejected
from recbole_tme.utils.files import PARTIAL

LATEST = "latest"


def named_run(name: Path | str, run_dir: Path | str = "runs", finished: bool = True) -> Path:
    """The directory of the run that a name means.

    Args:
        name: a run directory, which is taken as it is, as is everything that holds no run (a bundle, a path that does
            not exist); a folder of runs, which means its newest one (but for those that
            ``update`` did not promote); or ``latest``, the newest one below ``run_dir``.
        run_dir: where runs are.
        finished: of a folder, count finished runs only.

    Raises:
        UserError: the folder holds runs and none of them is finished, or there is no run for ``latest``.
    """
    path = Path(name)
    is_latest = str(name) == LATEST and not path.exists()
    if (path / "config.yaml").is_file() or not (path.is_dir() or is_latest):
        return path
    folder = Path(run_dir) if is_latest else path
    runs = runs_below(folder)
    wanted = [run for run in runs if (run.finished or not finished) and not was_rejected(run)]
    if wanted:
        return wanted[-1].path
    if runs:
        raise UserError(f"{folder} holds no finished run; --resume={runs[-1].path} goes on with the newest")
    if is_latest:
        raise UserError(f"latest: {folder} holds no run yet; train one with recbole-tme run, or set --run_dir")
    return path


def finished_run(path: Path | str, context: str = "") -> RunDirectory:
    """The directory of a finished run.

    Args:
        path: the directory.
        context: what the message begins with, such as a setting that names the run.

    Raises:
        UserError: it is no run directory, or the run has no results yet.
    """
    run = RunDirectory.open(path)
    if not run.finished:
        raise UserError(f"{context}{path} is not finished: it has no metrics.json; continue it with --resume={path}")
    return run


def runs_below(folder: Path) -> list[RunDirectory]:
    """All runs at or below a folder, finished or interrupted, the oldest first."""
    files = list(folder.rglob("config.yaml")) if folder.is_dir() else []
    # A run's name begins with the time when it began.
    files = [file for file in files if not file.parent.name.endswith(PARTIAL)]
    return [RunDirectory(file.parent) for file in sorted(files, key=lambda file: (file.parent.name, str(file)))]
