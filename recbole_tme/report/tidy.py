"""A comparison as a tidy table, one figure a line, for a spreadsheet or a program."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from recbole_tme.evaluation.significance import Comparison, Estimate
from recbole_tme.report.section import Model, Section
from recbole_tme.utils import tabular

HEAD = (
    *(
        "dataset",
        "protocol",
        "model",
        "slice",
        "part",
        "metric",
        "value",
        "low",
        "high",
        "over",
        "seeds",
        "seed_spread",
    ),
    *("tie_share", "instances", "sessions", "reference", "difference", "difference_low", "difference_high"),
    *("difference_over", "p", "p_holm", "effect", "equal_sessions", "note"),
)


def csv_text(sections: Sequence[Section]) -> str:
    """All figures of all sections, accuracies and shares as fractions, with all digits."""
    rows = []
    for section in sections:
        about = {"dataset": section.protocol.dataset, "protocol": section.protocol.fingerprint}
        for line in lines(section):
            line = about | line
            rows.append(["" if missing(line.get(name)) else line[name] for name in HEAD])
    return tabular.csv_text(HEAD, rows)


def lines(section: Section) -> Iterator[dict]:
    """The lines of one section, by column."""
    tests = {(line.model, line.metric): line for line in section.comparisons}
    everything = section.protocol.test_instances
    for model in section.models:
        for metric, line in model.estimates.items():
            yield accuracy(line, "all", "", everything) | against(tests.get((model.name, metric)))
    for group in section.slices:
        for part in group.slices:
            for line in part.estimates.values():
                yield accuracy(line, group.key, part.name, part.instances)
    for model in section.models:
        yield from descriptions(model)
    for one in section.failures:
        yield {"model": one["model"], "metric": "failed", "note": f"seed {one.get('seed')}: {one.get('reason')}"}


def accuracy(line: Estimate, group: str, part: str, instances: int) -> dict:
    return {
        "model": line.model,
        "slice": group,
        "part": part,
        "metric": line.metric,
        "value": line.value,
        "low": line.low,
        "high": line.high,
        "over": line.over,
        "seeds": line.seeds,
        "seed_spread": line.spread,
        "tie_share": line.tie_share,
        "instances": instances,
        "sessions": line.sessions,
    }


def against(line: Comparison | None) -> dict:
    """The columns of a test; empty for the reference and for metrics that are not tested."""
    if line is None:
        return {}
    tested = asdict(line)
    renamed = {"difference_low": line.low, "difference_high": line.high, "difference_over": line.over}
    return renamed | {k: tested[k] for k in ("reference", "difference", "p", "p_holm", "effect", "equal_sessions")}


def descriptions(model: Model) -> Iterator[dict]:
    """What is known of a model besides its accuracy."""
    costs = asdict(model.costs)
    device = costs.pop("device")
    for name, value in costs.items():
        yield {"model": model.name, "metric": name, "value": value, "seeds": len(model.seeds), "note": device}
    for name, value in model.beyond.items():
        yield {"model": model.name, "metric": name, "value": value, "seeds": len(model.seeds)}
    for name in ("trials", "seconds"):
        if name in model.tuning:
            yield {"model": model.name, "metric": f"tuning_{name}", "value": model.tuning[name]}


def missing(value) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
