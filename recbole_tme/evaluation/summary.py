"""What a run found, in words and as a table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from recbole_tme.evaluation.beyond_accuracy import BY_KEY, NO_FRACTIONS
from recbole_tme.evaluation.protocol import Protocol

# hit@K, recall@K and the papers' P@K are one number where every instance has one target; it is printed once.
SMALLEST_P = 0.0001
SHOWN_NAMES = {"hit": "P", "recall": "P", "mrr": "MRR", "ndcg": "NDCG", "precision": "Precision"} | BY_KEY


def percent_table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Format metrics in the units of :func:`shown_value`, one line per row.

    Args:
        rows: metrics by row name, such as ``{"test": {"hit@20": 0.33, "mrr@20": 0.15}}``.
    """
    columns = list(dict.fromkeys(name for metrics in rows.values() for name in metrics))
    width = max(map(len, rows)) + 2
    wide = {name: max(10, len(shown_name(name)) + 2) for name in columns}
    head = " " * width + "".join(f"{shown_name(name):>{wide[name]}}" for name in columns)

    def cell(metrics: Mapping[str, float], name: str) -> str:
        return f"{shown_value(name, metrics[name]):.2f}" if name in metrics else "-"

    lines = [
        f"{row:<{width}}" + "".join(f"{cell(metrics, name):>{wide[name]}}" for name in columns)
        for row, metrics in rows.items()
    ]
    return "\n".join([head, *lines])


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
        ``"TMEGNN triplet_weight=0.0"``. A value that more than half of them have is left out.
    """
    names = []
    for model, own in zip(models, settings):
        runs = [other for name, other in zip(models, settings) if name == model]
        said = [model]
        for key in sorted(set().union(*runs)):
            # Compared as they are printed, so that settings that differ never have one name.
            value = str(own.get(key, ""))
            n_same = sum(str(other.get(key, "")) == value for other in runs)
            if 2 * n_same <= len(runs):
                said.append(f"{key}={value}")
        names.append(" ".join(said))
    return names


def result_report(metrics: Mapping) -> str:
    """The final lines of a run: validation, test and its slices, and the protocol.

    Args:
        metrics: the content of a run's ``metrics.json``.
    """
    rows = {"valid": metrics["valid"]} if metrics["valid"] else {}
    rows["test"] = metrics["test"]
    for name, part in metrics["slices"].items():
        if name != "all":
            rows[f"test, {name}"] = part["metrics"]
    head = f"{metrics['model']} on {metrics['dataset']}, seed {metrics['seed']}, epoch {metrics['best_epoch']}"
    sample = metrics.get("valid_sample")
    if sample:
        head += (
            f"\nvalidation on {sample['instances']:,} of {sample['of']:,} instances: half of the 95 % interval of the "
            f"metric that selects the epoch is {100 * sample['half_width']:.2f}"
        )
    tail = f"share of test instances with a tied target: {metrics['tie_share']:.4f}"
    raw = [name for name in BY_KEY if name in NO_FRACTIONS and any(key.startswith(f"{name}@") for key in rows["test"])]
    if raw:
        tail = f"{' and '.join(BY_KEY[name] for name in raw)} are no fractions and not in percent\n{tail}"
    return "\n".join([head, percent_table(rows), *Protocol.read(metrics["protocol"], "metrics.json").lines(), tail])
