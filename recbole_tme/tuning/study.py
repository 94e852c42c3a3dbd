"""A study: many trials of one model with settings from a space, by validation alone; it can be resumed at any time."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from recbole_tme.config.load import SessionConfig, load_config
from recbole_tme.config.plugin_key import load_named
from recbole_tme.errors import UserError
from recbole_tme.evaluation.protocol import Protocol, load_data
from recbole_tme.experiment import cluster
from recbole_tme.experiment.loading import find_run
from recbole_tme.experiment.run import run
from recbole_tme.tuning.journal import FAILED, FINISHED, STOPPED, Journal, Trial
from recbole_tme.tuning.plan import Plan
from recbole_tme.tuning.ray_tune import tune_trials
from recbole_tme.tuning.search import Search, make_search
from recbole_tme.tuning.space import Space, load_space
from recbole_tme.tuning.trial import Assignment, TrialPlan, train_trial
from recbole_tme.utils.files import new_folder, remove_leftovers, write_atomically, writing

ROW_KEYS = ("epoch", "score", "epoch_score", "seconds", "last")

# Repetitions in a row after which a space is taken to be exhausted.
SUGGESTIONS = 100
# A trial that was stopped below this part of the best score had hardly begun to learn: few are of a model that learns
# in its first epoch, most of one that does not.
HARDLY = 10


class Study:
    """A study's folder, its journal and its search.

    Also the source of trials for Ray (:class:`~recbole_tme.tuning.ray_tune.TrialSource`). Trials that an earlier
    process began are given out first: the ended ones only to have their epochs reported again, so that the scheduler
    judges the next ones by them, the others to be continued.

    Args:
        folder: as made by :meth:`create`.
        changed: called with the study after each epoch and each end.
        plan: replaces the stored one, for another budget or other resources.

    Raises:
        UserError: the folder is not a study folder, or is damaged.
    """

    def __init__(self, folder: Path, changed: Callable[[Study], None] = lambda study: None, plan: Plan | None = None):
        self.folder = Path(folder)
        self.plan = plan or Plan.read(self.folder)
        self.config: SessionConfig = load_config(config_dict=self.plan.settings)
        self.space: Space = load_space(self.config, self.folder / "space.yaml").without(self.plan.fixed)
        self.journal = Journal(self.folder / "journal.jsonl")
        self.search: Search = make_search(self.plan.search, self.space, self.plan.seed, begun=len(self.trials))
        # How many trials there is room for at a time; on a cluster, nodes come and go.
        self.slots: Callable[[], int] = lambda: 1
        self._changed = changed
        self._exhausted = False
        self._generator = random.Random(f"{self.plan.seed}/{self.journal.seconds_before}")
        self._live: dict[str, Trial] = {}
        self._population = self.plan.scheduler == "pbt"
        for trial in self.trials:
            self._check_settings(trial)
            # The process ended between a trial's last epoch and its end.
            if not trial.ended and trial.rows and trial.rows[-1]["last"]:
                self.journal.end(trial, FINISHED)
        broken_off = [trial for trial in self.trials if not trial.ended]
        # Only these schedulers judge a trial by those that ended before.
        learns = self.plan.scheduler in ("asha", "median") and (broken_off or not self._full)
        self._waiting = list(self.trials) if learns else broken_off
        for trial in self.trials:
            if trial.ended:
                self._tell(trial)

    def _check_settings(self, trial: Trial) -> None:
        for parameter in self.space.parameters:
            if parameter.name in trial.settings and not parameter.fits(value := trial.settings[parameter.name]):
                raise UserError(
                    f"{self.journal.path}: trial {trial.number} has {parameter.name}={value!r}, which is not of the "
                    "space; start a new study"
                )

    @classmethod
    def create(cls, folder: Path, plan: Plan, space_source: Path, **arguments: Any) -> Study:
        """Make a study's folder, whole or not at all.

        Raises:
            UserError: the space is wrong, or the folder cannot be written.
        """
        with new_folder(folder) as partial:
            remove_leftovers(folder.parent)
            write_atomically(partial / "space.yaml", space_source.read_bytes())
            plan.write(partial)
        try:
            return cls(folder, **arguments)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    @property
    def trials(self) -> list[Trial]:
        return self.journal.trials

    @property
    def metric(self) -> str:
        """The validation metric that is maximised."""
        return self.config["valid_metric"]

    @property
    def best(self) -> Trial | None:
        """The trial with the best score, whether or not its training came to its end; of equal ones, one that did.

        Trained to the end, an unfinished one selects the same epoch or a better one, unless its settings changed on the
        way (``pbt``).
        """
        scored = [trial for trial in self.trials if trial.rows]
        return max(scored, key=lambda trial: (trial.rows[-1]["score"], trial.status == FINISHED), default=None)

    @property
    def warnings(self) -> list[str]:
        """What to know before the best settings are used: a line each, none while there are none."""
        best = self.best
        if best is None or best.score is None:
            return []
        stopped = [trial.score for trial in self.trials if trial.status == STOPPED and trial.score is not None]
        untaught = [score for score in stopped if score < best.score / HARDLY]
        line = (
            f"{len(untaught)} of the {len(stopped)} trials that were stopped early had hardly begun to learn, so that "
            "chance chose among them; --scheduler=none gives every trial its epochs"
        )
        return self.space.warnings(best.settings) + ([line] if 2 * len(untaught) > len(stopped) else [])

    @property
    def done(self) -> bool:
        """Whether every trial of the study has ended and no further one is to come."""
        return not self._waiting and self.exhausted() and all(trial.ended for trial in self.trials)

    def run(self) -> None:
        """Work on the study until it is done or its budget is spent. To be used inside a connection to Ray.

        Raises:
            UserError: the folder cannot be written.
        """
        if not self.done:
            self._train()
        for trial in self.trials:
            if trial.ended:
                self._drop_checkpoints(trial)

    def _train(self) -> None:
        self.slots = lambda: max(1, cluster.slots(self.plan.resources))
        self.journal.start()
        records = self.folder / ".ray"
        shutil.rmtree(records, ignore_errors=True)
        if self._population:
            self._numbers.mkdir(parents=True)
        trial_plan = TrialPlan(
            self.plan.settings,
            str(self.folder.absolute()),
            self.plan.resources.threads,
            tuple(self.config["plugin"] or ()),
        )
        tune_trials(
            train_trial, trial_plan, self, self.plan.resources, self.plan.scheduler, self.config["epochs"], records
        )
        shutil.rmtree(records, ignore_errors=True)

    @property
    def _numbers(self) -> Path:
        """Of population-based training: a file per trial, by Ray's name of it, with its number."""
        return self.folder.absolute() / ".ray" / "numbers"

    # What Ray asks of the source of its trials.

    def next(self, name: str) -> Assignment | None:
        # A population trains in turns, all of it before any of it goes on.
        if not self._population and len(self._live) >= self.slots():
            return None
        trial = self._waiting.pop(0) if self._waiting else self._begin()
        if trial is None:
            return None
        self._live[name] = trial
        if self._population:
            (self._numbers / name).write_text(str(trial.number))
            return Assignment(trial.number, dict(trial.settings), population=str(self._numbers))
        return Assignment(trial.number, dict(trial.settings), list(trial.rows), trial.ended)

    def _begin(self) -> Trial | None:
        settings = self._new_settings()
        if settings is None:
            self._exhausted = True
            return None
        return self.journal.begin(settings)

    def _new_settings(self) -> dict[str, Any] | None:
        """Settings that no trial has had: a repetition with the same seed can only have the same score."""
        for _ in range(SUGGESTIONS):
            settings = self.search.suggest()
            if settings is None or self._population or all(settings != trial.settings for trial in self.trials):
                return settings
            # Without a score, the repetition counts for nothing in what the search expects.
            self.search.tell(settings, None, None)
        return None

    def exhausted(self) -> bool:
        return not self._waiting and (self._exhausted or self._full)

    @property
    def _full(self) -> bool:
        """Whether all trials that the budget allows have begun."""
        limit = self.plan.budget.trials
        return limit is not None and len(self.trials) >= limit

    def row(self, name: str, row: Mapping[str, Any]) -> None:
        trial = self._live.get(name)
        if trial is None or trial.ended:
            return
        if row.get("trace"):
            self._end(trial, FAILED, row["trace"])
        elif self.journal.epoch(trial, {key: row[key] for key in ROW_KEYS}, self._settings_of(row)):
            if row["last"]:
                self._end(trial, FINISHED)
            self._changed(self)

    def _settings_of(self, row: Mapping[str, Any]) -> dict[str, Any] | None:
        return json.loads(row["settings"]) if self._population else None

    def explore(self, assignment: Assignment) -> Assignment:
        return replace(assignment, settings=self.space.perturb(assignment.settings, self._generator))

    def ended(self, name: str) -> None:
        trial = self._live.pop(name, None)
        # At the end of the budget Ray ends every trial; a larger budget may continue these.
        if trial is not None and not trial.ended and not self.over():
            self._end(trial, STOPPED)
            self._changed(self)

    def lost(self, name: str) -> None:
        trial = self._live.pop(name, None)
        if trial is not None and not trial.ended:
            self.journal.lost(trial)
            self._end(trial, FAILED, "the trial's worker was killed or its node was lost, also when it was tried again")
            self._changed(self)

    def over(self) -> bool:
        budget = self.plan.budget
        gpu_seconds = self.plan.resources.gpus * sum(trial.seconds for trial in self.trials)
        return (budget.seconds is not None and self.journal.seconds >= budget.seconds) or (
            budget.gpu_hours is not None and gpu_seconds >= 3600 * budget.gpu_hours
        )

    def _end(self, trial: Trial, status: str, trace: str = "") -> None:
        self.journal.end(trial, status, trace)
        self._tell(trial)
        if not self._population:
            self._drop_checkpoints(trial)
        if trace:
            with writing(self._folder_of(trial)):
                self._folder_of(trial).mkdir(parents=True, exist_ok=True)
            write_atomically(self._folder_of(trial) / "error.txt", trace.encode())

    def _drop_checkpoints(self, trial: Trial) -> None:
        """Remove checkpoints that no trial will resume from, of tens of megabytes each."""
        for checkpoint in self._folder_of(trial).glob("checkpoint-*.pt"):
            checkpoint.unlink(missing_ok=True)

    def _tell(self, trial: Trial) -> None:
        score = None if trial.status == FAILED else trial.score
        self.search.tell(trial.settings, score, trial.rows[-1]["epoch"] if trial.status == STOPPED else None)

    def _folder_of(self, trial: Trial) -> Path:
        return self.folder / "trials" / f"{trial.number:04d}"


def final_runs(study: Study, n_seeds: int, known: Sequence[Mapping[str, Any]] = ()) -> Iterator[dict[str, Any]]:
    """Retrain the best settings on train + validation with several seeds, and evaluate each run once on test.

    To be used inside a connection to Ray.

    Args:
        study: a study with a best trial.
        n_seeds: how many seeds, counted up from the settings' own.
        known: runs from an earlier call, which are not repeated.

    Yields:
        Per run that is done ``seed``, ``run`` (its directory), ``valid`` and ``test``; of one that failed ``error``.
    """
    assert study.best is not None
    settings = study.plan.settings | study.best.settings | {"retrain": True, "show_progress": False}
    settings["threads"] = study.plan.resources.threads
    done = {run["seed"] for run in known if "error" not in run}
    seeds = [seed for seed in range(settings["seed"], settings["seed"] + n_seeds) if seed not in done]
    settings["run_dir"] = str(Path(settings["run_dir"]).absolute())
    calls = [(settings | {"seed": seed}, study.config["plugin"] or ()) for seed in seeds]
    for outcome in cluster.call_all(final_run, calls, study.plan.resources):
        found = {"error": str(outcome.error)} if outcome.error is not None else outcome.value
        yield {"seed": seeds[outcome.index]} | found


def final_run(settings: Mapping[str, Any], plugins: Sequence[str]) -> dict[str, Any]:
    """One ordinary run, or the rest of one that was interrupted; returns where it is and what came out."""
    load_named(plugins)
    config = load_config(config_dict=settings)
    directory = run(config, find_run(config, Protocol.of(config, load_data(config)).fingerprint))
    metrics = directory.read_metrics()
    return {"run": str(directory.path), "valid": metrics["valid"], "test": metrics["test"]}


def new_study_folder(parent: Path) -> Path:
    """A folder for a new study, ``<parent>/tune-<UTC time>``; it is not made."""
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S")
    name = next(
        name
        for name in (f"tune-{stamp}", *(f"tune-{stamp}-{number}" for number in range(2, 10_000)))
        if not (parent / name).exists()
    )
    return parent / name
