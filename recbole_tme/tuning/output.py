"""What a study leaves behind: ``trials.csv``, ``best.yaml``, ``study.json``, and the table shown while it goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from recbole_tme.evaluation.summary import shown_name
from recbole_tme.models import registry
from recbole_tme.tuning.journal import FAILED, FINISHED, OPEN, STOPPED, Trial
from recbole_tme.tuning.study import Study
from recbole_tme.utils import tabular, terminal
from recbole_tme.utils.files import write_atomically, write_json
from recbole_tme.utils.shapes import read_json

# Trials at work that are shown at a time.
LIVE_ROWS = 8
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
        "warnings": study.warnings,
        "final": list(final),
    }


def best_text(study: Study) -> str:
    """The content of ``best.yaml``: with ``--config_files`` it repeats the best trial's training."""
    best, plan = study.best, study.plan
    assert best is not None
    settings = registry.naming_settings(study.config.model_class) | {"dataset": study.config["dataset"]}
    settings |= plan.given | best.settings
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    # Sums differ in their last digits with the number of threads.
    note = "" if best.status == FINISHED else f" ({best.status} after epoch {best.rows[-1]['epoch']})"
    return (
        f"# {study.metric} {best.score:.6f} on validation, trial {best.number} of {len(study.trials)}{note}.\n{text}"
        f"# As in the trials, for the very same score; more threads are faster.\nthreads: {plan.resources.threads}\n"
    )


class LiveTable:
    """Shows a study while it goes on: a row per trial that ended, and on a terminal those at work."""

    def __init__(self) -> None:
        self._study: Study | None = None
        self._told: set[int] = set()

    def begin(self, study: Study) -> None:
        """Show this study from now on; nothing is said of the trials that ended in an earlier process."""
        self._study, self._told = study, {trial.number for trial in study.trials if trial.ended}

    def __call__(self, study: Study) -> None:
        """Something has changed: a trial ended, or has done an epoch."""
        for trial in study.trials:
            if trial.rows and not trial.ended:
                detail = f"trial {trial.number}: epoch {trial.rows[-1]['epoch']}  {_score(study, trial)}"
                terminal.detail(detail)
            if trial.ended and trial.number not in self._told:
                self._told.add(trial.number)
                for line in ended_lines(study, trial):
                    terminal.say(*line)

    def lines(self) -> list[list[terminal.Piece]]:
        """The lines that are drawn anew while the study goes on."""
        return [] if self._study is None else live_lines(self._study)


def ended_lines(study: Study, trial: Trial) -> list[list[terminal.Piece]]:
    """What is said of a trial that ended: how, its score, and below it its settings."""
    epochs = len(trial.rows)
    best = study.best
    leads = best is not None and best.number == trial.number
    line: list[terminal.Piece] = [f"{_name(study, trial)}  {epochs:>3} epoch{'s' if epochs != 1 else ' '}  "]
    line.append((_score(study, trial) + (" *best" if leads else ""), "good" if leads else ""))
    if trial.status != FINISHED:
        line.append((f"  {trial.status}", "bad" if trial.status == FAILED else "faint"))
    if left := time_left(study):
        line.append((f"  {left}", "faint"))
    lines = [line]
    for text in terminal.fold(f"    {_settings(trial)}", "    "):
        lines.append([(text, "faint")])
    return lines


def live_lines(study: Study) -> list[list[terminal.Piece]]:
    """The trials at work, the best one with its settings, and how far the study is."""
    at_work = [trial for trial in study.trials if not trial.ended]
    shown: list[list[terminal.Piece]] = []
    for trial in at_work[:LIVE_ROWS]:
        done = f"epoch {trial.rows[-1]['epoch']} done  {_score(study, trial)}" if trial.rows else "epoch 1"
        shown.append([("▸ ", "bar"), f"{_name(study, trial)}  {done}  ", (_settings(trial), "faint")])
    if len(at_work) > LIVE_ROWS:
        shown.append([(f"  and {len(at_work) - LIVE_ROWS} more", "faint")])
    best = study.best
    if best is not None and best.score is not None:
        shown.append([("best so far  ", "good"), f"{_name(study, best).strip()}  {_score(study, best)}"])
        shown += [[f"    {text}"] for text in terminal.fold(_settings(best), width=terminal.columns() - 5)]
    count, planned = Counter(trial.status for trial in study.trials), study.plan.budget.trials
    ended = len(study.trials) - count[OPEN]
    counts = [f"{ended}{f' of {planned}' if planned else ''} trials"]
    counts += [f"{count[status]} {status}" for status in (STOPPED, FAILED) if count[status]]
    left = time_left(study) or terminal.duration(study.journal.seconds)
    bar = terminal.bar_pieces(ended, planned, 16) if planned else []
    shown.append([*bar, f"{'  ' if bar else ''}{', '.join(counts)}", (f"  {left}", "faint")])
    return shown


def time_left(study: Study) -> str:
    """How long the rest takes, if further trials take as long as those before; empty where that is not known."""
    budget, spent = study.plan.budget, study.journal.seconds
    ended = sum(trial.ended for trial in study.trials)
    estimates = []
    if budget.trials and ended:
        estimates.append(spent * (budget.trials - ended) / ended)
    if budget.seconds is not None:
        estimates.append(max(0.0, budget.seconds - spent))
    return terminal.time_left(min(estimates)) if estimates and min(estimates) > 0 else ""


def _name(study: Study, trial: Trial) -> str:
    width = len(str(max(study.plan.budget.trials or 0, len(study.trials)) - 1))
    return f"trial {trial.number:>{width}}"


def _score(study: Study, trial: Trial) -> str:
    return f"{shown_name(study.metric.lower())} " + ("    -" if trial.score is None else f"{100 * trial.score:>5.2f}")


def _settings(trial: Trial) -> str:
    return "  ".join(f"{key}={_short(value)}" for key, value in trial.settings.items())


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def read_final(folder: Path) -> list[dict[str, Any]]:
    """The final runs that a study's ``study.json`` knows of."""
    file = folder / "study.json"
    return read_json(file, SHAPE, "remove it; it is written again")["final"] if file.exists() else []
