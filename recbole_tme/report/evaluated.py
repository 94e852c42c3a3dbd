"""Finished runs as reports compare them: read once, checked to be of the same instances, grouped by model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recbole_tme.config.result_settings import result_settings
from recbole_tme.errors import UserError
from recbole_tme.evaluation.protocol import Protocol
from recbole_tme.evaluation.ranks import Ranks
from recbole_tme.evaluation.significance import same_instances
from recbole_tme.evaluation.summary import distinct_names, shared_settings
from recbole_tme.models import registry
from recbole_tme.runs.directory import RunDirectory, finished_runs
from recbole_tme.utils.spelling import did_you_mean


@dataclass(frozen=True)
class Evaluated:
    """A finished run's files that a comparison reads: its directory, ``metrics.json``, ranks and protocol."""

    directory: RunDirectory
    result: dict
    ranks: Ranks
    protocol: Protocol


@dataclass(frozen=True)
class ModelRuns:
    """The runs of one model with the same settings, which differ in their seed.

    Attributes:
        name: the model, and the settings that tell it from others of the same model.
        model: the model's name alone.
        runs: one per seed.
    """

    name: str
    model: str
    runs: list[Evaluated]

    @property
    def seed_independent(self) -> bool:
        """Whether no seed can change its result; never said of a model that is not known here."""
        try:
            return registry.is_seed_independent(registry.resolve(self.model))
        except UserError:
            return False


def read_runs(paths: Sequence[Path]) -> list[Evaluated]:
    """The finished runs at or below some paths, all of the same instances by the same protocol.

    Raises:
        UserError: a run has no readable results, or the runs cannot be compared.
    """
    runs = read_each(paths)
    for other in runs[1:]:
        check_comparable(runs[0], other)
    return runs


def read_by_dataset(paths: Sequence[Path]) -> dict[str, list[Evaluated]]:
    """The finished runs at or below some paths by data set; those of one data set share instances and protocol.

    Raises:
        UserError: a run has no readable results, or runs of one data set cannot be compared.
    """
    runs: dict[str, list[Evaluated]] = {}
    for run in read_each(paths):
        together = runs.setdefault(run.protocol.dataset, [])
        if together:
            check_comparable(together[0], run)
        together.append(run)
    return runs


def read_each(paths: Sequence[Path]) -> list[Evaluated]:
    """The finished runs at or below some paths.

    Raises:
        UserError: a run has no readable results.
    """
    runs = []
    for directory in finished_runs(paths):
        result = directory.read_metrics()
        protocol = Protocol.read(result["protocol"], directory.metrics_file)
        runs.append(Evaluated(directory, result, Ranks.load(directory.ranks_file), protocol))
    return runs


def check_comparable(first: Evaluated, other: Evaluated) -> None:
    """Refuse to pair runs that were not evaluated on the same instances by the same protocol.

    Raises:
        UserError: they differ; names both runs and what differs.
    """
    differ = first.protocol.differences(other.protocol)
    if differ:
        raise UserError(
            f"{other.directory.path} cannot be compared with {first.directory.path}: they differ in "
            f"{', '.join(differ)}; name runs of one protocol"
        )
    if not same_instances(first.ranks, other.ranks):
        raise UserError(
            f"{other.directory.ranks_file} holds other test instances than {first.directory.ranks_file}, or in another "
            f"order; evaluate them again"
        )


def group_runs(runs: Sequence[Evaluated]) -> list[ModelRuns]:
    """Runs by model and settings, in the order given.

    Raises:
        UserError: two runs are of one model, settings and seed.
    """
    groups: dict[str, tuple[dict, dict[int, Evaluated]]] = {}
    every = [result_settings(run.directory.read_config()) for run in runs]
    for run, settings in zip(runs, shared_settings([run.result["model"] for run in runs], every)):
        of_model = json.dumps([run.result["model"], settings], sort_keys=True)
        _, by_seed = groups.setdefault(of_model, (settings, {}))
        twin = by_seed.setdefault(run.result["seed"], run)
        if twin is not run:
            raise UserError(
                f"{run.directory.path} and {twin.directory.path} are runs of one model, settings and seed; "
                f"leave one out"
            )
    models = [next(iter(by_seed.values())).result["model"] for _, by_seed in groups.values()]
    names = distinct_names(models, [settings for settings, _ in groups.values()])
    return [
        ModelRuns(name, model, list(by_seed.values()))
        for name, model, (_, by_seed) in zip(names, models, groups.values())
    ]


def find_reference(models: Sequence[ModelRuns], wanted: str | None) -> str:
    """The name of the model that the others are compared with.

    Raises:
        UserError: no model, or more than one, is meant; names all.
    """
    if wanted is None:
        return models[0].name
    path = Path(wanted).resolve()
    exact = [m.name for m in models if m.name == wanted or any(run.directory.path.resolve() == path for run in m.runs)]
    found = exact or [m.name for m in models if m.model == wanted]
    if len(found) != 1:
        names = [model.name for model in models]
        problem = (
            "is more than one of the models" if found else f"is not one of the models{did_you_mean(wanted, names)}"
        )
        raise UserError(f"--reference: {wanted} {problem}; choose among: {'; '.join(names)}")
    return found[0]
