"""One small table over several data sets: a row per model, its best settings by validation."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence

from recbole_tme.errors import UserError
from recbole_tme.report.tables import by_settings
from recbole_tme.utils import tabular

CHOSEN_BY = "mrr@20"


def overview(results: Sequence[dict], models: Sequence[str]) -> str:
    """P@20 / MRR@20 on test, in per cent, of some models on every data set.

    Of each data set the protocol with most runs counts; of a model with several settings, those with the best mean
    MRR@20 on validation. A figure of several seeds is their mean and says how many.

    Args:
        results: contents of ``metrics.json``.
        models: names, in the order of the rows.

    Raises:
        UserError: a model has no result; names it.
    """
    columns = of_common_protocol(results)
    rows = []
    for model in models:
        if all(result["model"] != model for result in results):
            raise UserError(f"--models: {model} has no result among those given; leave it out")
        rows.append([model, *(_cell([one for one in part if one["model"] == model]) for part in columns.values())])
    return tabular.markdown(["P@20 / MRR@20", *columns], rows)


def of_common_protocol(results: Sequence[dict]) -> dict[str, list[dict]]:
    """The results of each data set that were measured by the protocol which most of its results share."""
    of_dataset: dict[str, list[dict]] = defaultdict(list)
    for result in results:
        of_dataset[result["protocol"]["dataset"]].append(result)
    common = {}
    for dataset, part in sorted(of_dataset.items()):
        (fingerprint, _), *_ = Counter(result["protocol"]["fingerprint"] for result in part).most_common()
        common[dataset] = [result for result in part if result["protocol"]["fingerprint"] == fingerprint]
    return common


def chosen_by_validation(results: Sequence[dict]) -> list[dict]:
    """The results, a seed each, of those settings that have the best mean MRR@20 on validation; empty where there are
    none with validation."""
    groups = [runs for runs in by_settings(results).values() if all(run["valid"] for run in runs)]
    if not groups:
        return []
    return max(groups, key=lambda runs: statistics.fmean(run["valid"][CHOSEN_BY] for run in runs))


def _cell(results: Sequence[dict]) -> str:
    best = chosen_by_validation(results)
    if not best:
        return "-"
    figures = [f"{100 * statistics.fmean(run['test'][name] for run in best):.2f}" for name in ("hit@20", "mrr@20")]
    return " / ".join(figures) + (f" ({len(best)} seeds)" if len(best) > 1 else "")
