"""Trials by Ray Tune: which run where and when, and which are stopped; what they are and what becomes of them is told
by and to their source.

Ray is imported in functions.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

from recbole_tme.experiment import ray_versions
from recbole_tme.experiment.cluster import Place, Resources
from recbole_tme.tuning.trial import Assignment
from recbole_tme.utils.files import write_json
from recbole_tme.utils.processes import environment

# Ray's tuner prints, plots and logs nothing of its own, and leaves Ctrl-C to this program.
QUIET = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
}
# Workers that a trial may lose: Ray may send it to a node that is gone before it knows of the loss.
LOST_WORKERS = 4
# ASHA keeps the better third of the trials after 1, 3, 9, ... epochs.
REDUCTION = 3


class TrialSource(Protocol):
    """Where :func:`tune_trials` gets its trials from and whom it tells about them."""

    def next(self, trial: str) -> Assignment | None:
        """What the next trial, of this name, is to be called with; None while none is to be started."""

    def exhausted(self) -> bool:
        """Whether there will be no more trials."""

    def row(self, trial: str, row: dict) -> None:
        """A row that a trial reported; may be told twice."""

    def lost(self, trial: str) -> None:
        """A trial's worker died, and the trial is not tried again."""

    def ended(self, trial: str) -> None:
        """A trial ended by itself or was stopped by the scheduler."""

    def over(self) -> bool:
        """Whether to stop every trial now."""

    def explore(self, assignment: Assignment) -> Assignment:
        """What a trial is to be called with that takes over the weights of the trial called with ``assignment``."""


class _Held:
    """Something that Ray cannot write to its records, and needs not."""

    def __init__(self, value: Any = None):
        self.value = value

    def __reduce__(self):
        return _Held, ()


def tune_trials(
    function: Callable, plan: Any, source: TrialSource, resources: Resources, scheduler: str, epochs: int, folder: Path
) -> None:
    """Run trials by Ray Tune until their source is exhausted or over. To be used inside :func:`connected`.

    Args:
        function: of a module's top level, called in a worker as ``function(assignment, plan, report)`` with what the
            source gave; ``report`` takes a row with ``epoch`` and ``score`` at least, larger is better.
        plan: what all trials have in common; it is sent to each node once.
        source: of the trials.
        resources: what each trial occupies.
        scheduler: a word of :data:`recbole_tme.tuning.SCHEDULERS`; it sees ``score`` by ``epoch``.
        epochs: the most a trial can have.
        folder: for Ray's own records, which nothing here reads.
    """
    from ray import tune
    from ray.tune.search import Searcher

    held = _Held(source)

    class FromSource(Searcher):
        """Ray's view of the source, which knows what it suggests and limits how many trials there are at a time."""

        def suggest(self, trial_id):
            if held.value.exhausted():
                return Searcher.FINISHED
            assignment = held.value.next(trial_id)
            # Ray's settings of a trial are a dict.
            return None if assignment is None else asdict(assignment)

        def on_trial_result(self, trial_id, result):
            held.value.row(trial_id, result)

        def on_trial_complete(self, trial_id, result=None, error=False):
            if result is not None and "epoch" in result:
                held.value.row(trial_id, result)
            (held.value.lost if error else held.value.ended)(trial_id)

        def save(self, checkpoint_path):
            # The source keeps its own journal.
            raise NotImplementedError

        def restore(self, checkpoint_path):
            raise NotImplementedError

    class Over(tune.Stopper):
        def __call__(self, trial_id, result):
            return False

        def stop_all(self):
            return held.value.over()

    def explore(settings: dict[str, Any]) -> dict[str, Any]:
        return asdict(held.value.explore(Assignment(**settings)))

    settings = ray_versions.tuner_settings()
    trainable = tune.with_parameters(_trial, function=function, plan=plan, place=Place.here(resources))
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": resources.cpus, "gpu": resources.gpus}),
        tune_config=tune.TuneConfig(
            metric="score",
            mode="max",
            search_alg=FromSource(),
            scheduler=_scheduler(
                scheduler, epochs, lambda settings: asdict(held.value.explore(Assignment(**settings)))
            ),
            num_samples=-1,
            # A killed worker that has served a trial before would make Ray 2.6 wait for it for ever.
            reuse_actors=False,
        ),
        run_config=settings.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent.absolute()),
            stop=Over(),
            failure_config=settings.FailureConfig(max_failures=LOST_WORKERS),
            verbose=0,
        ),
    )
    with environment(**QUIET):
        tuner.fit()


def _scheduler(name: str, epochs: int, explore: Callable[[dict], dict]):
    from ray.tune import schedulers

    if name == "asha":
        return schedulers.ASHAScheduler(
            time_attr="epoch", max_t=max(2, epochs), grace_period=1, reduction_factor=REDUCTION
        )
    if name == "median":
        return schedulers.MedianStoppingRule(time_attr="epoch", grace_period=1, min_samples_required=3)
    if name == "pbt":

        class Population(schedulers.PopulationBasedTraining):
            """Takes its members from a search, which Ray refuses: ours is done when the population is complete."""

            def on_trial_add(self, controller, trial):
                super().on_trial_add(SimpleNamespace(search_alg=None), trial)

        return Population(
            time_attr="epoch", perturbation_interval=max(1, epochs // 5), custom_explore_fn=explore, log_config=False
        )
    return schedulers.FIFOScheduler()


def _trial(settings: dict[str, Any], function: Callable, plan: Any, place: Place) -> None:
    place.enter()
    assignment, report = Assignment(**settings), ray_versions.report_to_tuner()
    if assignment.population is not None:
        assignment, report = _member(assignment, report)
    function(assignment, plan, report)


def _member(assignment: Assignment, report: Callable) -> tuple[Assignment, Callable]:
    """The same in population-based training: Ray's checkpoints only say whose weights they are, and after which epoch.

    A trial that is to go on from another's is called with that one's assignment, so its own number is in a file.
    """
    assert assignment.population is not None
    folder = Path(assignment.population)
    name, checkpoint = ray_versions.tuner_state()
    number, donor, after = int((folder / name).read_text()), None, 0
    if checkpoint is not None:
        with checkpoint.as_directory() as stored:
            origin = json.loads((Path(stored) / "origin.json").read_text())
        donor, after = origin["number"], origin["epoch"]
    here = folder / f"of-{number}"
    here.mkdir(exist_ok=True)

    def report_with_origin(row: dict) -> None:
        write_json(here / "origin.json", {"number": number, "epoch": row["epoch"]})
        stored = ray_versions.tuner_settings().Checkpoint.from_directory(str(here))
        report(row | {"settings": json.dumps(assignment.settings)}, checkpoint=stored)

    return replace(assignment, number=number, donor=donor, after=after), report_with_origin
