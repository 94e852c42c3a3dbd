"""What a run found, in words and as a table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from recbole_tme.config.resolution import UNIFORM_NEGATIVES
from recbole_tme.evaluation.beyond_accuracy import BY_KEY, NO_FRACTIONS
from recbole_tme.evaluation.protocol import Protocol
from recbole_tme.runs.epochs import selected_epoch
from recbole_tme.utils.tabular import printable
from recbole_tme.utils.terminal import fold

# The slices of the test instances, as a table's head names them.
SHOWN_SLICES = {"repeat": "repeated", "last_click": "last click"}
# hit@K, recall@K and the papers' P@K are one number where every instance has one target; it is printed once.
SMALLEST_P = 0.0001
SHOWN_NAMES = {"hit": "P", "recall": "P", "mrr": "MRR", "ndcg": "NDCG", "precision": "Precision"} | BY_KEY


def percent_table(columns: Mapping[str, Mapping[str, float]]) -> str:
    """Format metrics in the units of :func:`shown_value`: a line per metric, a column per set of instances.

    Args:
        columns: metrics by column name, such as ``{"test": {"hit@20": 0.33, "mrr@20": 0.15}}``.
    """
    # Names in a run of somebody's do not steer the terminal.
    columns = {printable(column): metrics for column, metrics in columns.items()}
    names = list(dict.fromkeys(name for metrics in columns.values() for name in metrics))
    heads = {name: printable(shown_name(name)) for name in names}
    first = max(map(len, heads.values()), default=0)
    widths = {column: max(len(column), 6) + 2 for column in columns}
    lines = [" " * first + "".join(f"{column:>{width}}" for column, width in widths.items())]
    for name in names:
        cells = (f"{shown_value(name, columns[one][name]):.2f}" if name in columns[one] else "-" for one in columns)
        lines.append(f"{heads[name]:<{first}}" + "".join(f"{c:>{w}}" for c, w in zip(cells, widths.values())))
    return "\n".join(lines)


def shown_name(name: str) -> str:
    """``hit@20`` -> ``P@20``: the name the field prints."""
    metric, _, k = name.partition("@")
    return f"{SHOWN_NAMES.get(metric, metric.upper())}@{k}" if k else name


def shown_value(name: str, value: float) -> float:
    """A metric as it is shown: a fraction in per cent, numbers of clicks and entropies as they are."""
    return value if name.partition("@")[0] in NO_FRACTIONS else 100 * value


def shown_p(p: float) -> str:
    """A p value with four digits, ``-`` where there is none."""
    if math.isnan(p):
        return "-"
    return f"{p:.4f}" if p >= SMALLEST_P else f"<{SMALLEST_P}"


def shared_settings(models: Sequence[str], settings: Sequence[Mapping]) -> list[dict]:
    """Each run's settings without its seed, and without those that another run of its model lacks: a run from before a
    setting existed differs by nothing in it.

    Args:
        models: the runs' models.
        settings: the runs' settings.
    """
    kept = []
    for model, own in zip(models, settings):
        others = [other for name, other in zip(models, settings) if name == model]
        kept.append({key: own[key] for key in own if key != "seed" and all(key in other for other in others)})
    return kept


def distinct_names(models: Sequence[str], settings: Sequence[Mapping]) -> list[str]:
    """A name for each of several runs that says how it differs from others of its model.

    Args:
        models: the runs' models.
        settings: the runs' settings.

    Returns:
        The model's name, followed by the values of the settings in which the runs of this model differ, such as
        ``"TMEGNN triplet_weight=0.0"``. A value that more than half of them have is left out, and so are the negatives
        that a loss has unless others are set.
    """
    names = []
    for model, own in zip(models, settings):
        runs = [other for name, other in zip(models, settings) if name == model]
        said = [model]
        for key in sorted(set().union(*runs)):
            # Compared as they are printed, so that settings that differ never have one name.
            value = str(own.get(key, ""))
            n_same = sum(str(other.get(key, "")) == value for other in runs)
            follows = key == "train_neg_sample_args" and own.get(key) in (None, UNIFORM_NEGATIVES)
            if 2 * n_same <= len(runs) and not follows:
                said.append(f"{key}={value}")
        names.append(" ".join(said))
    return names


def result_report(metrics: Mapping) -> str:
    """The final lines of a run, narrow enough for a terminal: validation, test and its slices, and the protocol.

    Args:
        metrics: the content of a run's ``metrics.json``.
    """
    columns = {"valid": metrics["valid"]} if metrics["valid"] else {}
    columns["test"] = metrics["test"]
    slices = {name: part for name, part in metrics["slices"].items() if name != "all"}
    columns |= {SHOWN_SLICES.get(name, name): part["metrics"] for name, part in slices.items()}
    epoch = selected_epoch(metrics)
    head = f"{metrics['model']} on {metrics['dataset']}, seed {metrics['seed']}" + (f", epoch {epoch}" if epoch else "")
    told = Protocol.read(metrics["protocol"], "metrics.json").lines()
    if sample := metrics.get("valid_sample"):
        told.append(
            f"validation on {sample['instances']:,} of {sample['of']:,} instances: half of the 95 % interval of the "
            f"metric that selects the epoch is {100 * sample['half_width']:.2f}"
        )
    if slices:
        counts = ", ".join(f"{SHOWN_SLICES.get(name, name)} {part['instances']:,}" for name, part in slices.items())
        told.append(
            f"of the test instances: {counts} (repeated, new: the target was clicked before in its session, or not; "
            "last click: one instance per session)"
        )
    raw = [
        name for name in BY_KEY if name in NO_FRACTIONS and any(key.startswith(f"{name}@") for key in metrics["test"])
    ]
    if raw:
        told.append(f"{' and '.join(BY_KEY[name] for name in raw)} are no fractions and not in percent")
    told.append(f"{100 * metrics['tie_share']:.2f} % of the test instances have a tied target")
    return "\n".join(
        [
            *fold(head),
            "",
            percent_table(columns),
            "",
            *(line for text in told for line in fold(text, "  ")),
        ]
    )
