"""Everything a report says of the models of one protocol, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recbole_tme.errors import UserError
from recbole_tme.evaluation.protocol import Protocol
from recbole_tme.evaluation.significance import Comparison, Estimate, compare, estimate
from recbole_tme.report.details import Costs, beyond_accuracy, costs, read_details, read_history
from recbole_tme.report.evaluated import Evaluated, ModelRuns, find_reference, group_runs
from recbole_tme.report.made import Made, is_training_free, read_made
from recbole_tme.report.rivals import Leaders, Pair, leaders, pairs
from recbole_tme.report.slices import SliceGroup, slice_groups
from recbole_tme.runs.itemlist import ItemList

METRICS = ("hit@5", "hit@10", "hit@20", "mrr@5", "mrr@10", "mrr@20", "ndcg@20")
# What models are ranked by comes last; these two are tested, and shown wherever there is no room for all.
TESTED = ("hit@20", "mrr@20")
RANKED_BY = TESTED[-1]


@dataclass(frozen=True)
class Model:
    """One model's part of a section.

    Attributes:
        name: the model, and the settings that tell it from others of the same model.
        model: the model's name alone.
        seeds: of its runs, ascending.
        seed_independent: whether its seed changes nothing.
        training_free: whether it has no weights to train.
        estimates: by metric.
        costs: see there.
        beyond: see :func:`~recbole_tme.report.details.beyond_accuracy`.
        histories: the rows of each run's ``history.csv``.
        spectrum: singular values of the item table over the largest, of the first seed; empty without.
        examples: of the first seed, as in ``details.json``, in external item ids.
        tuning: what was spent on choosing its settings, as in ``study.json``; empty if nothing is known.
        made: how each of its runs came about.
    """

    name: str
    model: str
    seeds: list[int]
    seed_independent: bool
    training_free: bool
    estimates: dict[str, Estimate]
    costs: Costs
    beyond: dict[str, float | None]
    histories: list[list[dict]]
    spectrum: list[float]
    examples: list[dict]
    tuning: Mapping
    made: list[Made]


@dataclass(frozen=True)
class Section:
    """The comparison of models on one data set by one protocol.

    Attributes:
        protocol: that all the runs share.
        reference: name of the model that the others are compared with.
        models: best first.
        comparisons: of each other model with the reference, models in the same order.
        leaders: the best of each metric and who is not told from it.
        pairs: every two models, the better by the ranking first, by the tested metrics.
        slices: cuts of the test set.
        failures: runs that gave no result: model, seed, reason, log.
        catalogue: item names and clicks; ``None`` where no run has its ``catalogue.json``.
    """

    protocol: Protocol
    reference: str
    models: list[Model]
    comparisons: list[Comparison]
    leaders: dict[str, Leaders]
    pairs: list[Pair]
    slices: list[SliceGroup]
    failures: list[Mapping]
    catalogue: ItemList | None


def assemble(runs: Sequence[Evaluated], reference: str | None, failures: Sequence[Mapping], plan: Mapping) -> Section:
    """Compute everything a report says of some runs of one protocol.

    Args:
        runs: of the same instances.
        reference: a model's name or one of its run directories; default the best model.
        failures: runs that gave no result.
        plan: what is known of how the runs came about, see :func:`~recbole_tme.report.comparison.write_report`.

    Raises:
        UserError: the reference is no model, two runs are the same, or a run's files are damaged.
    """
    # Sums over seeds round by their order; the report is the same whatever order the runs are named in.
    runs = sorted(runs, key=lambda run: (run.result["model"], run.result["seed"], run.directory.path.name))
    groups = group_runs(runs)
    ranks = {group.name: [run.ranks for run in group.runs] for group in groups}
    fixed = [group.name for group in groups if group.seed_independent]
    estimates = {(line.model, line.metric): line for line in estimate(ranks, METRICS, seed_independent=fixed)}
    groups.sort(key=lambda group: (-estimates[group.name, RANKED_BY].value, group.name))
    reference = find_reference(groups, reference)
    ranks = {group.name: ranks[group.name] for group in groups}
    against = [(group.name, reference) for group in groups if group.name != reference]
    catalogue = read_catalogue(runs)
    protocol = runs[0].protocol
    return Section(
        protocol=protocol,
        reference=reference,
        models=[one_model(g, {metric: estimates[g.name, metric] for metric in METRICS}, plan) for g in groups],
        comparisons=compare(ranks, against, TESTED, seed_independent=fixed),
        leaders=leaders(ranks, estimates, METRICS, fixed),
        pairs=pairs(ranks, TESTED, fixed),
        slices=slice_groups(ranks, TESTED, catalogue, fixed),
        failures=[one for one in failures if one.get("dataset", protocol.dataset) == protocol.dataset],
        catalogue=catalogue,
    )


def one_model(group: ModelRuns, estimates: dict[str, Estimate], plan: Mapping) -> Model:
    """What a section says of one model."""
    runs = group.runs
    details = [read_details(run.directory) for run in runs]
    return Model(
        name=group.name,
        model=group.model,
        seeds=[run.result["seed"] for run in runs],
        seed_independent=group.seed_independent,
        estimates=estimates,
        training_free=is_training_free(group.model),
        costs=costs(group, details),
        beyond=beyond_accuracy(details),
        histories=[read_history(run.directory) for run in runs],
        spectrum=details[0].get("spectrum") or [],
        examples=details[0].get("examples") or [],
        tuning=plan.get("tuning", {}).get(group.model) or {},
        made=[read_made(run.directory, run.result["seed"]) for run in runs],
    )


def read_catalogue(runs: Sequence[Evaluated]) -> ItemList | None:
    """The catalogue of the first run that has it.

    Raises:
        UserError: it is damaged, or of another data set.
    """
    files = [run.directory.catalogue_file for run in runs if run.directory.catalogue_file.is_file()]
    if not files:
        return None
    catalogue = ItemList.read(files[0])
    if len(catalogue.ids) != (wanted := runs[0].protocol.items):
        raise UserError(f"{files[0]} has {len(catalogue.ids)} items, the run's protocol {wanted}; run the model again")
    return catalogue
