"""Search a model's settings on validation, and the search as an object."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_tme.api.comparing import Comparison, carry_out, plan_comparison
from recbole_tme.api.display import html_table
from recbole_tme.api.running import PathLike, load_plugins, overrides, paths
from recbole_tme.api.studies import TuneOptions, check_options, new_plans, open_study, resumed_plans
from recbole_tme.evaluation.summary import shown_name, shown_value
from recbole_tme.experiment.cluster import connected
from recbole_tme.schema.yamlfile import flow_text
from recbole_tme.tuning.journal import FAILED
from recbole_tme.tuning.output import LiveTable, read_final, write_results
from recbole_tme.tuning.plots import write_plots
from recbole_tme.tuning.study import Study as Trials
from recbole_tme.tuning.study import final_runs
from recbole_tme.utils import terminal

if TYPE_CHECKING:
    import pandas as pd

# Seeds of a comparison of tuned models, where none are asked for.
COMPARED_SEEDS = 3


class Study:
    """A search of a model's settings; made by :func:`tune`.

    Attributes:
        path: the study's folder, with ``best.yaml``, ``trials.csv``, ``study.json`` and plots.
        model, dataset: their names.
        metric: the validation metric that was maximised, in the name the tables use.
    """

    def __init__(self, study: Trials):
        self._study = study
        self.path: Path = study.folder
        self.model: str = study.config.registered_name
        self.dataset: str = study.config["dataset"]
        self.metric: str = shown_name(study.metric.lower())

    @property
    def best(self) -> dict[str, Any] | None:
        """The best trial's settings, for :func:`recbole_tme.run`; None where no trial has a score."""
        return None if self._study.best is None else dict(self._study.best.settings)

    @property
    def best_score(self) -> float | None:
        """The best trial's validation score in per cent."""
        best = self._study.best
        return None if best is None or best.score is None else 100 * best.score

    @property
    def trials(self) -> pd.DataFrame:
        """A row per trial: number, status, score in per cent, epochs, seconds and its settings."""
        import pandas as pd

        return pd.DataFrame(
            {
                "trial": trial.number,
                "status": trial.status,
                self.metric: None if trial.score is None else 100 * trial.score,
                "best epoch": trial.best_epoch,
                "epochs": len(trial.rows),
                "seconds": trial.seconds,
            }
            | trial.settings
            for trial in self._study.trials
        )

    def __repr__(self) -> str:
        score = "no score yet" if self.best is None else f"best {self.metric} {self.best_score:.2f} on validation"
        return f"<Study of {self.model}: {len(self._study.trials)} trials, {score}; {self.path}>"

    def _repr_html_(self) -> str:
        return html_table(self.trials, repr(self)[1:-1])


def tune(
    model: str | None = None,
    dataset: str | None = None,
    *,
    config_files: Sequence[PathLike] | PathLike = (),
    plugin: Sequence[PathLike] | PathLike = (),
    space: PathLike | None = None,
    search: str = "optuna",
    scheduler: str = "asha",
    num_samples: int | None = None,
    budget: str | None = None,
    cpus_per_trial: float | None = None,
    gpus_per_trial: float | None = None,
    ray_address: str | None = None,
    resume: PathLike | None = None,
    final_seeds: int = 0,
    **settings: Any,
) -> Study:
    """Search a model's settings by Ray Tune, on validation alone.

    Args:
        model: a name; default TMEGNN.
        dataset: the data set's name; default ``ml100k-sessions``.
        config_files: YAML files to start from.
        plugin: files that define further models.
        space: the search space; default the model's own.
        search: ``optuna``, ``random``, ``hyperopt`` or ``grid``.
        scheduler: which trials to stop early: ``asha``, ``median``, ``pbt`` or ``none``.
        num_samples: trials; default 20, or as many as a budget of time allows.
        budget: ``"40"`` (trials), ``"30m"``, ``"2h"``, ``"2gpuh"`` or several: ``"40,2h"``.
        cpus_per_trial, gpus_per_trial: what each trial occupies.
        ray_address: join a Ray cluster: ``auto`` or ``HOST:PORT``.
        resume: a study's folder, to go on with it.
        final_seeds: then train the best settings on train + validation with as many seeds, each evaluated once on test.
        **settings: configuration keys that are the same in all trials.

    Raises:
        UserError: an option, a setting or the space is wrong, Ray is missing, or no cluster is reached.
    """
    options = TuneOptions(
        model=model, dataset=dataset, config_files=",".join(map(str, paths(config_files))), plugin=paths(plugin),
        space=None if space is None else Path(space), search=search, scheduler=scheduler, num_samples=num_samples,
        budget=budget, cpus_per_trial=cpus_per_trial, gpus_per_trial=gpus_per_trial, ray_address=ray_address,
        resume=None if resume is None else str(resume), final_seeds=final_seeds, overrides=overrides(settings),
    )  # fmt: skip
    return search_all(options)[0]


def search_all(options: TuneOptions) -> list[Study]:
    """Work on the studies that the options ask for, one per model.

    Raises:
        UserError: as :func:`tune`.
    """
    check_options(options)
    load_plugins(options.plugin)
    folders, plans = resumed_plans(options) if options.resume is not None else new_plans(options)
    with connected(options.ray_address, plans[0].resources):
        table = LiveTable()
        studies = [open_study(folder, plan, options, table) for folder, plan in zip(folders, plans)]
        for study in studies:
            introduce(study)
            table.begin(study)
            work(study, 0 if options.compare else options.final_seeds, table)
    return [Study(study) for study in studies]


def compare_tuned(studies: Sequence[Study], options: TuneOptions) -> Comparison:
    """Compare the models of some studies, with their best settings.

    Raises:
        UserError: as :func:`~recbole_tme.api.comparing.compare`.
    """
    planned = plan_comparison(
        [study.model for study in studies],
        studies[0].dataset,
        options.final_seeds or COMPARED_SEEDS,
        (),
        studies[0].path.parent,
        options.overrides,
    )
    return carry_out(planned, ray_address=options.ray_address)


def introduce(study: Trials) -> None:
    """Say what is searched, how and where."""
    plan = study.plan
    keys = ", ".join(parameter.name for parameter in study.space.parameters)
    terminal.say_folded(
        f"{study.config.registered_name} on {study.config['dataset']}: {plan.budget}, search {plan.search}, scheduler "
        f"{plan.scheduler}; searched are {keys}",
        indent="  ",
    )
    terminal.say(f"study: {study.folder}")


def work(study: Trials, final_seeds: int, table: LiveTable) -> None:
    """Run a study, evaluate its best settings where that is asked for, and say what came out."""
    with terminal.live(table.lines):
        study.run()
    final = read_final(study.folder)
    write_results(study, final)
    if not study.done:
        terminal.note(f"the budget is spent; --resume={study.folder} --budget=... goes on")
    note = write_plots(study)
    if note:
        terminal.note(note)
    best = study.best
    if best is None or best.score is None:
        reasons = [trial.trace.strip().splitlines()[-1] for trial in study.trials if trial.status == FAILED]
        print(f"no trial has a score; {reasons[-1] if reasons else 'the budget ended before'}", file=sys.stderr)
        return
    for warning in study.warnings:
        terminal.warn(warning)
    print(f"best on validation: {shown_name(study.metric.lower())} {100 * best.score:.2f}, trial {best.number}")
    for key, value in best.settings.items():
        print(f"  {key}: {flow_text(value)}")
    print(f"written to {study.folder / 'best.yaml'}", flush=True)
    if final_seeds:
        for one in final_runs(study, final_seeds, final):
            final = [*(run for run in final if run["seed"] != one["seed"]), one]
            write_results(study, sorted(final, key=lambda run: run["seed"]))
        for one in sorted(final, key=lambda run: run["seed"]):
            shown = one.get("error") or ", ".join(
                f"{shown_name(name)} {shown_value(name, value):.2f}" for name, value in one["test"].items()
            )
            print("\n".join(terminal.fold(f"seed {one['seed']} on test: {shown}", "  ")))
