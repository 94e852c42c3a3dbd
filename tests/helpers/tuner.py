"""What stands for Ray's tuner in tests of a study."""

import itertools
from contextlib import nullcontext, suppress

from recbole_tme.api import tuning
from recbole_tme.experiment import cluster
from recbole_tme.tuning import study as studies
from recbole_tme.tuning.study import Study
from recbole_tme.tuning.trial import TrialPlan, train_trial


class Stop(BaseException):
    """Stands for what ends a trial, or the whole process, from outside."""


class Driver:
    """Does what Ray's tuner does, in this process, one trial after the other.

    Args:
        stop: ``stop(trial number, row)``: whether the scheduler stops the trial there.
        die: ``die(trial number, row)``: whether the process ends there, after the row was told.
    """

    def __init__(self, stop=lambda number, row: False, die=lambda number, row: False):
        self.stop, self.die, self.reported = stop, die, []

    def __call__(self, study: Study) -> None:
        plan = TrialPlan(study.plan.settings, str(study.folder), 1)
        names = iter(range(1000))
        while not study.exhausted() and not study.over():
            name = str(next(names))
            assignment = study.next(name)
            if assignment is None:
                continue

            def report(row, assignment=assignment, name=name):
                self.reported.append((assignment.number, dict(row)))
                study.row(name, row)
                if self.die(assignment.number, row):
                    raise KeyboardInterrupt
                if self.stop(assignment.number, row):
                    raise Stop

            with suppress(Stop):
                train_trial(assignment, plan, report)
            study.ended(name)


def without_ray() -> None:
    """Have the command ``tune`` call its trials and final runs in this process, one after the other.

    Nothing else of it changes. To be called in a process of its own.
    """

    def in_turns(function, plan, source, *_):
        names = map(str, itertools.count())
        while not source.exhausted() and not source.over():
            name = next(names)
            assignment = source.next(name)
            if assignment is not None:
                function(assignment, plan, lambda row, name=name: source.row(name, row))
                source.ended(name)

    tuning.connected = lambda *_: nullcontext()
    studies.tune_trials = in_turns
    cluster.slots = lambda _: 1
    cluster.call_all = lambda function, calls, _: (
        cluster.Outcome(index, function(*arguments)) for index, arguments in enumerate(calls)
    )
