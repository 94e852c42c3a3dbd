"""What a study leaves behind: ``trials.csv``, ``best.yaml``, ``study.json``, and the table shown while it goes on."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import yaml

from recbole_tme.models import registry
from recbole_tme.tuning.journal import FAILED, FINISHED, OPEN, STOPPED, Trial
from recbole_tme.tuning.study import Study
from recbole_tme.utils import tabular
from recbole_tme.utils.files import write_atomically, write_json
from recbole_tme.utils.shapes import read_json

# Lines of the live table: the running trials first, then the best ones.
LIVE_ROWS = 12
SHAPE = {"final": [{"error?": (type(None), str), "test?": (type(None), {str: float})}]}


def write_results(study: Study, final: Sequence[dict[str, Any]] = ()) -> None:
    """Write ``trials.csv``, ``study.json`` and, once a trial has a score, ``best.yaml``.

    Args:
        study: the study so far.
        final: the runs of the best settings, as from ``final_runs``.

    Raises:
        UserError: the folder cannot be written.
    """
    keys = [parameter.name for parameter in study.space.parameters]
    head = ["trial", "status", "score", "best_epoch", "epochs", "seconds", *keys, "error"]
    write_atomically(
        study.folder / "trials.csv", tabular.csv_text(head, [csv_row(trial, keys) for trial in study.trials]).encode()
    )
    write_json(study.folder / "study.json", summary(study, final))
    if study.best is not None:
        write_atomically(study.folder / "best.yaml", best_text(study).encode())


def csv_row(trial: Trial, keys: Sequence[str]) -> list[Any]:
    values = [trial.settings.get(key, "") for key in keys]
    reason = trial.trace.strip().splitlines()[-1] if trial.trace else ""
    return [
        trial.number,
        trial.status,
        "" if trial.score is None else trial.score,
        trial.best_epoch or "",
        len(trial.rows),
        trial.seconds,
        *values,
        reason,
    ]


def summary(study: Study, final: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """The content of ``study.json``."""
    count = Counter(trial.status for trial in study.trials)
    best, plan = study.best, study.plan
    return {
        "model": study.config.registered_name,
        "dataset": study.config["dataset"],
        "metric": study.metric,
        "best_score": None if best is None else best.score,
        "best_trial": None if best is None else best.number,
        "best_settings": None if best is None else best.settings,
        "trials": len(study.trials),
        "finished": count[FINISHED],
        "stopped_early": count[STOPPED],
        "failed": count[FAILED],
        "open": count[OPEN],
        "epochs": sum(len(trial.rows) for trial in study.trials),
        "budget": str(plan.budget),
        "seconds": round(study.journal.seconds, 1),
        "trial_seconds": round(sum(trial.seconds for trial in study.trials), 1),
        "search": plan.search,
        "scheduler": plan.scheduler,
        "seed": plan.seed,
        "cpus_per_trial": plan.resources.cpus,
        "gpus_per_trial": plan.resources.gpus,
        "failures": [
            {"trial": trial.number, "reason": trial.trace.strip().splitlines()[-1]}
            for trial in study.trials
            if trial.status == FAILED
        ],
        "warnings": [] if best is None else study.space.warnings(best.settings),
        "final": list(final),
    }


def best_text(study: Study) -> str:
    """The content of ``best.yaml``: with ``--config_files`` it repeats the best trial's training."""
    best, plan = study.best, study.plan
    assert best is not None
    settings = registry.naming_settings(study.config.model_class) | {"dataset": study.config["dataset"]}
    settings |= plan.given | best.settings
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    ending = "" if best.status == FINISHED else f" (its training was not over: {best.status})"
    # Sums differ in their last digits with the number of threads.
    return (
        f"# {study.metric} {best.score:.6f} on validation, trial {best.number} of {len(study.trials)}{ending}.\n{text}"
        f"# As in the trials, for the very same score; more threads are faster.\nthreads: {plan.resources.threads}\n"
    )


class LiveTable:
    """Shows a running study: a table that is redrawn on a terminal, elsewhere a line per ended trial.

    Args:
        stream: where to.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._drawn = 0
        self._told: set[int] = set()

    def __call__(self, study: Study) -> None:
        if self._stream.isatty():
            self._draw(study)
            return
        for trial in study.trials:
            if trial.ended and trial.number not in self._told:
                self._told.add(trial.number)
                print(ended_line(study, trial), file=self._stream, flush=True)

    def _draw(self, study: Study) -> None:
        width = shutil.get_terminal_size().columns
        lines = [line[: width - 1] for line in live_lines(study)]
        # Up to the first line of what was drawn, and clear from there.
        back = f"\x1b[{self._drawn}F\x1b[J" if self._drawn else ""
        self._stream.write(back + "\n".join(lines) + "\n")
        self._stream.flush()
        self._drawn = len(lines)


def ended_line(study: Study, trial: Trial) -> str:
    """What is said of a trial that ended."""
    score = "-" if trial.score is None else f"{100 * trial.score:.2f}"
    settings = ", ".join(f"{key}={_short(value)}" for key, value in trial.settings.items())
    best = study.best
    leader = ""
    if best is not None and best.score is not None:
        leader = f"; best {100 * best.score:.2f} (trial {best.number})"
    epochs = len(trial.rows)
    return f"trial {trial.number} {trial.status} after {epochs} epochs: {study.metric} {score}{leader} [{settings}]"


def live_lines(study: Study) -> list[str]:
    """The lines of the live table."""
    count = Counter(trial.status for trial in study.trials)
    planned = f"/{study.plan.budget.trials}" if study.plan.budget.trials else ""
    title = (
        f"{study.config.registered_name} on {study.config['dataset']}: {len(study.trials)}{planned} trials, "
        f"{count[FINISHED]} finished, {count[STOPPED]} stopped early, {count[FAILED]} failed, "
        f"{study.journal.seconds:.0f} s"
    )
    at_work = [trial for trial in study.trials if not trial.ended]
    others = sorted((t for t in study.trials if t.ended and t.rows), key=lambda trial: -trial.rows[-1]["score"])
    shown = [*at_work, *others][:LIVE_ROWS]
    rows = [
        (
            str(trial.number),
            "training" if trial.status == OPEN else trial.status,
            str(len(trial.rows)),
            "" if trial.score is None else f"{100 * trial.score:.2f}",
            ", ".join(f"{key}={_short(value)}" for key, value in trial.settings.items()),
        )
        for trial in shown
    ]
    return [title, *tabular.aligned(("trial", "status", "epochs", study.metric, "settings"), rows).splitlines()]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def read_final(folder: Path) -> list[dict[str, Any]]:
    """The final runs that a study's ``study.json`` knows of."""
    file = folder / "study.json"
    return read_json(file, SHAPE, "remove it; it is written again")["final"] if file.exists() else []
