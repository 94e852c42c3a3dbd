"""Who chooses the next trial's settings: a grid, chance, Optuna's or HyperOpt's estimators.

The libraries are asked directly, not through Ray's adaptors, which know neither their present versions nor conditions
between keys.
"""

from __future__ import annotations

import itertools
import math
import random
import warnings
from collections.abc import Mapping
from typing import Any, Protocol

from recbole_tme.errors import UserError
from recbole_tme.tuning.space import Parameter, Space
from recbole_tme.utils.installing import install_extra


class Search(Protocol):
    """One way to choose settings."""

    def suggest(self) -> dict[str, Any] | None:
        """The settings of a further trial; None when there are no more."""

    def tell(self, settings: Mapping[str, Any], score: float | None, stopped_after: int | None) -> None:
        """Learn how a trial ended, whoever suggested it.

        Args:
            settings: of the trial.
            score: its best validation score, larger is better; None for a trial that failed.
            stopped_after: the epochs of a trial that was stopped early; None for one that ended by itself.
        """


def make_search(name: str, space: Space, seed: int, begun: int = 0) -> Search:
    """The search of a name in :data:`recbole_tme.tuning.SEARCHES`.

    Args:
        name: its name.
        space: what it searches.
        seed: of its choices.
        begun: how many trials it has suggested before, in another process: it goes on behind them.

    Raises:
        UserError: its library is not installed, or the space is not one it can search.
    """
    kinds: dict[str, type[Any]] = {
        "grid": GridSearch,
        "random": RandomSearch,
        "optuna": OptunaSearch,
        "hyperopt": HyperOptSearch,
    }
    return kinds[name](space, seed, begun)


class GridSearch:
    """Every combination once, in the order of the file."""

    def __init__(self, space: Space, seed: int, begun: int = 0):
        self.size = sum(1 for _ in space.grid())
        self._rest = itertools.islice(space.grid(), begun, None)

    def suggest(self) -> dict[str, Any] | None:
        return next(self._rest, None)

    def tell(self, settings, score, stopped_after) -> None:
        """A grid learns nothing."""


class RandomSearch:
    """Independent draws; the n-th depends on the seed and on n alone."""

    def __init__(self, space: Space, seed: int, begun: int = 0):
        self._space, self._seed, self._numbers = space, seed, itertools.count(begun)

    def suggest(self) -> dict[str, Any]:
        generator = random.Random(f"{self._seed}/{next(self._numbers)}")
        return self._space.choose(lambda parameter: parameter.draw(generator))

    def tell(self, settings, score, stopped_after) -> None:
        """Chance learns nothing."""


class OptunaSearch:
    """Tree-structured Parzen estimators of all active keys together (Optuna's TPESampler)."""

    def __init__(self, space: Space, seed: int, begun: int = 0):
        try:
            import optuna
        except ImportError as error:
            raise UserError(
                f"--search=optuna: Optuna cannot be imported ({error}); run: {install_extra('tune')}"
            ) from error
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna, self._space = optuna, space
        with warnings.catch_warnings():
            # multivariate, group and constant_liar have been called experimental for years.
            warnings.simplefilter("ignore")
            sampler = optuna.samplers.TPESampler(seed=seed + begun, multivariate=True, group=True, constant_liar=True)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._asked: list[tuple[dict, Any]] = []

    def suggest(self) -> dict[str, Any]:
        trial = self._study.ask()
        settings = self._space.choose(lambda parameter: self._pick(trial, parameter))
        self._asked.append((settings, trial))
        return settings

    def _pick(self, trial, parameter: Parameter) -> Any:
        drawn = self._distribution(parameter)
        if parameter.kind == "choice":
            return parameter.values[trial.suggest_categorical(parameter.name, drawn.choices)]
        suggest = trial.suggest_int if parameter.whole else trial.suggest_float
        step = {} if parameter.kind == "loguniform" else {"step": drawn.step}
        return parameter.convert(suggest(parameter.name, drawn.low, drawn.high, log=drawn.log, **step))

    def _distribution(self, parameter: Parameter):
        kinds = self._optuna.distributions
        if parameter.kind == "choice":
            return kinds.CategoricalDistribution(range(len(parameter.values)))
        low, high = parameter.values
        log = parameter.kind == "loguniform"
        if parameter.whole:
            return kinds.IntDistribution(low, high, log=log, step=int(parameter.step or 1))
        return kinds.FloatDistribution(low, high, log=log, step=parameter.step)

    def tell(self, settings, score, stopped_after) -> None:
        asked = next((entry for entry in self._asked if entry[0] == settings), None)
        states = self._optuna.trial.TrialState
        state = states.FAIL if score is None else states.COMPLETE if stopped_after is None else states.PRUNED
        value = score if state == states.COMPLETE else None
        reported = {stopped_after: score} if state == states.PRUNED else {}
        if asked is not None:
            self._asked.remove(asked)
            for epoch, reached in reported.items():
                asked[1].report(reached, epoch)
            self._study.tell(asked[1], value, state=state)
            return
        active = [parameter for parameter in self._space.parameters if parameter.name in settings]
        self._study.add_trial(
            self._optuna.trial.create_trial(
                params={parameter.name: _encoded(parameter, settings[parameter.name]) for parameter in active},
                distributions={parameter.name: self._distribution(parameter) for parameter in active},
                value=value,
                intermediate_values=reported,
                state=state,
            )
        )


class HyperOptSearch:
    """HyperOpt's tree-structured Parzen estimator, which looks at one key at a time."""

    def __init__(self, space: Space, seed: int, begun: int = 0):
        try:
            import hyperopt
            from hyperopt.base import Domain
        except ImportError as error:
            raise UserError(
                f"--search=hyperopt: HyperOpt cannot be imported ({error}); run: {install_extra('tune')}"
            ) from error
        self._hyperopt, self._space = hyperopt, space
        # Every key is drawn, and the inactive ones are left out afterwards.
        self._flat = {parameter.name: self._expression(parameter) for parameter in space.parameters}
        self._domain, self._trials = Domain(lambda settings: 0.0, self._flat), hyperopt.Trials()
        self._seeds = random.Random(f"{seed}/{begun}")
        self._asked: list[tuple[dict, dict]] = []

    def _expression(self, parameter: Parameter):
        hp, name = self._hyperopt.hp, parameter.name
        if parameter.kind == "choice":
            return hp.randint(name, len(parameter.values))
        low, high = parameter.values
        if parameter.kind == "quniform":
            return hp.randint(name, len(parameter.grid()))
        if parameter.kind == "loguniform":
            return hp.loguniform(name, math.log(low), math.log(high))
        return hp.uniform(name, low, high)

    def suggest(self) -> dict[str, Any]:
        self._trials.refresh()
        (document,) = self._hyperopt.tpe.suggest(
            self._trials.new_trial_ids(1), self._domain, self._trials, self._seeds.randrange(2**31)
        )
        drawn = {name: values[0] for name, values in document["misc"]["vals"].items()}
        settings = self._space.choose(lambda parameter: self._value(parameter, drawn[parameter.name]))
        self._asked.append((settings, document))
        return settings

    def _value(self, parameter: Parameter, drawn: float) -> Any:
        continuous = parameter.kind in ("uniform", "loguniform")
        return parameter.convert(float(drawn)) if continuous else parameter.grid()[int(drawn)]

    def tell(self, settings, score, stopped_after) -> None:
        asked = next((entry for entry in self._asked if entry[0] == settings), None)
        if asked is None:
            document = self._document(settings)
        else:
            self._asked.remove(asked)
            document = asked[1]
        ok = self._hyperopt.STATUS_OK if score is not None else self._hyperopt.STATUS_FAIL
        document["state"] = self._hyperopt.JOB_STATE_DONE
        document["result"] = {"status": ok} | ({} if score is None else {"loss": -score})
        self._trials.insert_trial_docs([document])
        self._trials.refresh()

    def _document(self, settings: Mapping[str, Any]) -> dict:
        """HyperOpt's record of a trial that another process suggested; keys it leaves out are left out here too."""
        (number,) = self._trials.new_trial_ids(1)
        values = {}
        for parameter in self._space.parameters:
            value = settings.get(parameter.name)
            if value is not None and parameter.kind in ("choice", "quniform"):
                value = parameter.grid().index(value)
            values[parameter.name] = [] if value is None else [value]
        places = {name: [number] if found else [] for name, found in values.items()}
        misc = {"tid": number, "cmd": self._domain.cmd, "workdir": None, "idxs": places, "vals": values}
        return self._trials.new_trial_docs([number], [None], [{"status": "new"}], [misc])[0]


def _encoded(parameter: Parameter, value: Any) -> Any:
    """A value as its number among the choices: some choices are lists, which Optuna does not take."""
    return parameter.values.index(value) if parameter.kind == "choice" else value
