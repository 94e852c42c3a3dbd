"""A study: many trials of one model with settings from a space, by validation alone, which can go on after any end."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from recbole_tme.config import SessionConfig, load_config
from recbole_tme.errors import UserError
from recbole_tme.experiment import cluster
from recbole_tme.experiment.cluster import Resources
from recbole_tme.experiment.run import run
from recbole_tme.experiment.space import Space, load_space
from recbole_tme.experiment.tuning_journal import FAILED, FINISHED, STOPPED, Journal, Trial
from recbole_tme.experiment.tuning_search import Search, make_search
from recbole_tme.experiment.tuning_trial import TrialPlan, train_trial
from recbole_tme.files import write_atomically, writing

_PART = re.compile(r"(?P<amount>\d+(?:\.\d+)?)(?P<unit>s|m|h|d|gpuh)?")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
ROW_KEYS = ("epoch", "score", "epoch_score", "seconds", "last")


@dataclass(frozen=True)
class Budget:
    """What a study may spend; what is None is without limit.

    Attributes:
        trials: how many.
        seconds: of wall time, over all processes that worked on the study.
        gpu_hours: of its trials, a share of a GPU counting as such.
    """

    trials: int | None = None
    seconds: float | None = None
    gpu_hours: float | None = None

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read ``40`` (trials), ``90s``, ``30m``, ``2h``, ``1d``, ``2gpuh``, or several joined by commas.

        Raises:
            UserError: the text is none of these, zero, or names one thing twice.
        """
        found: dict[str, float] = {}
        for part in text.split(","):
            match = _PART.fullmatch(part.strip())
            if match is None:
                raise UserError(f"--budget={text}: {part.strip()!r} is neither trials (40), a time (30m, 2h) nor 2gpuh")
            amount, unit = float(match["amount"]), match["unit"]
            name = "trials" if unit is None else "gpu_hours" if unit == "gpuh" else "seconds"
            if amount == 0:
                raise UserError(f"--budget={text}: a budget of zero tries nothing; give at least one trial or second")
            if name in found:
                raise UserError(f"--budget={text}: {name} are given twice; keep one")
            if unit is None and amount != int(amount):
                raise UserError(f"--budget={text}: {match['amount']} trials; give a whole number")
            found[name] = int(amount) if unit is None else amount * _SECONDS.get(unit, 1)
        return cls(**found)

    def __str__(self) -> str:
        parts = [f"{self.trials} trials"] if self.trials else []
        parts += [f"{self.seconds:g} s"] if self.seconds else []
        return ", ".join([*parts, *([f"{self.gpu_hours:g} GPU hours"] if self.gpu_hours else [])])


@dataclass(frozen=True)
class Plan:
    """Everything that decides what a study does, as plain data; kept in ``plan.json``.

    Attributes:
        settings: complete settings that all trials share.
        given: those among them that the user gave, which a re-run needs too.
        fixed: those among them that are not searched, whatever the space says.
        search, scheduler: by name.
        seed: of the search.
        budget: when to end.
        resources: what each trial occupies.
    """

    settings: dict[str, Any]
    given: dict[str, Any]
    fixed: dict[str, Any]
    search: str
    scheduler: str
    seed: int
    budget: Budget
    resources: Resources

    def write(self, folder: Path) -> None:
        write_atomically(folder / "plan.json", (json.dumps(asdict(self), indent=1) + "\n").encode())

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """The plan of an existing study.

        Raises:
            UserError: the folder is none of a study.
        """
        try:
            plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
            return cls(**{**plan, "budget": Budget(**plan["budget"]), "resources": Resources(**plan["resources"])})
        except FileNotFoundError:
            raise UserError(f"{folder} is not the folder of a study: it has no plan.json") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{folder / 'plan.json'} cannot be read ({error}); start a new study") from error


class Study:
    """A study's folder, its journal and its search.

    Also the source of trials for Ray (:class:`~recbole_tme.experiment.cluster.TrialSource`). Trials that an earlier
    process began are given out first: the ended ones only to have their epochs reported again, so that the scheduler
    judges the next ones by them, the others to go on.

    Args:
        folder: as made by :meth:`create`.
        changed: called with the study after each epoch and each end.
        plan: replaces the stored one, for another budget or other resources.

    Raises:
        UserError: the folder is none of a study, or damaged.
    """

    def __init__(self, folder: Path, changed: Callable[[Study], None] = lambda study: None, plan: Plan | None = None):
        self.folder = Path(folder)
        self.plan = plan or Plan.read(self.folder)
        self.config: SessionConfig = load_config(config_dict=self.plan.settings)
        self.space: Space = load_space(self.config, self.folder / "space.yaml").without(self.plan.fixed)
        self.journal = Journal(self.folder / "journal.jsonl")
        self.search: Search = make_search(self.plan.search, self.space, self.plan.seed, begun=len(self.trials))
        self.slots = 1
        self._changed = changed
        self._exhausted = False
        self._live: dict[str, Trial] = {}
        self._waiting = list(self.trials)
        for trial in self.trials:
            if trial.ended:
                self._tell(trial)

    @classmethod
    def create(cls, folder: Path, plan: Plan, space_source: Path, **arguments: Any) -> Study:
        """Make a study's folder, whole or not at all.

        Raises:
            UserError: the space is wrong, or the folder cannot be written.
        """
        with writing(folder):
            folder.mkdir(parents=True)
        try:
            write_atomically(folder / "space.yaml", space_source.read_bytes())
            plan.write(folder)
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
        """The trial with the best score: among those that ended by themselves, for only these can be repeated."""
        scored = [trial for trial in self.trials if trial.rows]
        finished = [trial for trial in scored if trial.status == FINISHED]
        return max(finished or scored, key=lambda trial: trial.score, default=None)

    @property
    def done(self) -> bool:
        """Whether every trial of the study has ended and no further one is to come."""
        return not self._waiting and self.exhausted() and all(trial.ended for trial in self.trials)

    def run(self) -> None:
        """Work on the study until it is done or its budget is spent. To be used inside a connection to Ray.

        Raises:
            UserError: the folder cannot be written.
        """
        self.slots = max(1, cluster.slots(self.plan.resources))
        self.journal.start()
        records = self.folder / ".ray"
        shutil.rmtree(records, ignore_errors=True)
        trial_plan = TrialPlan(self.plan.settings, str(self.folder.absolute()), self.plan.resources.threads)
        cluster.tune_trials(
            train_trial, trial_plan, self, self.plan.resources, self.plan.scheduler, self.config["epochs"], records
        )
        shutil.rmtree(records, ignore_errors=True)

    # What Ray asks of the source of its trials.

    def next(self, name: str) -> dict[str, Any] | None:
        if len(self._live) >= self.slots:
            return None
        trial = self._waiting.pop(0) if self._waiting else self._begin()
        if trial is None:
            return None
        self._live[name] = trial
        return {
            "number": trial.number,
            "settings": dict(trial.settings),
            "rows": list(trial.rows),
            "ended": trial.ended,
        }

    def _begin(self) -> Trial | None:
        settings = self.search.suggest()
        if settings is None:
            self._exhausted = True
            return None
        return self.journal.begin(settings)

    def exhausted(self) -> bool:
        limit = self.plan.budget.trials
        full = limit is not None and len(self.trials) >= limit
        return not self._waiting and (self._exhausted or full)

    def row(self, name: str, row: Mapping[str, Any]) -> None:
        trial = self._live.get(name)
        if trial is None or trial.ended:
            return
        if row.get("trace"):
            self._end(trial, FAILED, row["trace"])
        elif self.journal.epoch(trial, {key: row[key] for key in ROW_KEYS}):
            if row["last"]:
                self._end(trial, FINISHED)
            self._changed(self)

    def ended(self, name: str) -> None:
        trial = self._live.pop(name, None)
        # At the end of the budget Ray ends every trial: these may go on with another one.
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
        # Tens of megabytes each, and nothing goes on from them any more.
        for checkpoint in self._folder_of(trial).glob("checkpoint-*.pt"):
            checkpoint.unlink(missing_ok=True)
        if trace:
            with writing(self._folder_of(trial)):
                self._folder_of(trial).mkdir(parents=True, exist_ok=True)
            write_atomically(self._folder_of(trial) / "error.txt", trace.encode())

    def _tell(self, trial: Trial) -> None:
        score = None if trial.status == FAILED else trial.score
        self.search.tell(trial.settings, score, trial.rows[-1]["epoch"] if trial.status == STOPPED else None)

    def _folder_of(self, trial: Trial) -> Path:
        return self.folder / "trials" / f"{trial.number:04d}"


def final_runs(study: Study, n_seeds: int, known: Sequence[Mapping[str, Any]] = ()) -> Iterator[dict[str, Any]]:
    """Train the best settings anew on train + validation with several seeds, and evaluate each once on test.

    To be used inside a connection to Ray.

    Args:
        study: a study with a best trial.
        n_seeds: how many seeds, counted up from the settings' own.
        known: runs from an earlier call, which are not repeated.

    Yields:
        Per run that is done ``seed``, ``run`` (its directory), ``valid`` and ``test``; of one that failed ``error``.
    """
    settings = study.plan.settings | study.best.settings | {"retrain": True, "show_progress": False}
    settings["threads"] = study.plan.resources.threads
    done = {run["seed"] for run in known if "error" not in run}
    seeds = [seed for seed in range(settings["seed"], settings["seed"] + n_seeds) if seed not in done]
    calls = [(settings | {"seed": seed, "run_dir": str(Path(settings["run_dir"]).absolute())},) for seed in seeds]
    for outcome in cluster.call_all(final_run, calls, study.plan.resources):
        found = {"error": str(outcome.error)} if outcome.error is not None else outcome.value
        yield {"seed": seeds[outcome.index]} | found


def final_run(settings: Mapping[str, Any]) -> dict[str, Any]:
    """One ordinary run; returns where it is and what came out."""
    directory = run(load_config(config_dict=settings))
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
