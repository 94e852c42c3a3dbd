"""Result tables in Markdown, made from run directories or from the ``metrics.json`` files they hold."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from recbole_tme.errors import UserError
from recbole_tme.evaluation.protocol import Protocol
from recbole_tme.evaluation.ranks import Ranks
from recbole_tme.evaluation.summary import distinct_names, shared_settings, shown_name
from recbole_tme.report.experiments import one_per_seed
from recbole_tme.runs.directory import finished_runs, read_result
from recbole_tme.utils import tabular
from recbole_tme.utils.files import insert_between, write_json, writing

METRICS = ("hit@5", "hit@10", "hit@20", "mrr@5", "mrr@10", "mrr@20")
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


def collect(paths: Iterable[Path], folder: Path) -> None:
    """Copy what tables are made of out of run directories, to ``<folder>/<data set>/<model>-s<seed>-<hash>.json``,
    with the checksum of the run's ranks.

    Raises:
        UserError: a path holds no finished run, or the folder cannot be written.
    """
    for directory in finished_runs(paths):
        result = read_result(directory.metrics_file) | {"ranks_sha256": Ranks.load(directory.ranks_file).checksum}
        name = directory.path.name.partition("-")[2]
        file = folder / result["dataset"] / f"{result['model'].replace(':', '-')}-{name}.json"
        with writing(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, result)


def read_results(paths: Iterable[Path]) -> list[dict]:
    """Every finished run found at or below the paths.

    Raises:
        UserError: a path does not exist, holds no finished run, or holds a JSON file that is not a result.
    """
    results = []
    for path in paths:
        if not path.exists():
            raise UserError(f"{path} does not exist; name a run directory or a metrics.json file")
        files = [path] if path.is_file() else sorted(path.rglob("metrics.json")) or sorted(path.rglob("*.json"))
        if not files:
            raise UserError(f"{path} holds no metrics.json: no run there has finished")
        for file in files:
            results.append(read_result(file))
    return results


def markdown(results: Sequence[dict]) -> str:
    """One table per protocol fingerprint, a row per model and settings: mean over seeds, with the standard deviation
    where there are several. Results of different data, splits or selection rules never share a table."""
    tables = defaultdict(list)
    for result in results:
        protocol = protocol_of(result)
        tables[(protocol.dataset, protocol.fingerprint)].append(result)
    return "\n\n".join(one_table(by_settings(part)) for _, part in sorted(tables.items())) + "\n"


def by_settings(results: Sequence[dict]) -> dict[str, list[dict]]:
    """Results that differ in nothing but their seed, by the name of their model and what sets it apart; of a run that
    was repeated, the last of the results given."""
    groups = defaultdict(list)
    models = [result["model"] for result in results]
    for result, settings in zip(results, shared_settings(models, [result.get("settings", {}) for result in results])):
        groups[result["model"], json.dumps(settings, sort_keys=True)].append(result)
    names = distinct_names([model for model, _ in groups], [json.loads(settings) for _, settings in groups])
    return dict(zip(names, map(one_per_seed, groups.values())))


def one_table(models: dict[str, list[dict]]) -> str:
    protocol = protocol_of(next(iter(models.values()))[0])
    ordered = sorted(models, key=lambda model: (-mean_of(models[model], METRICS[-1]), model))
    head = ["model", "seeds", *map(shown_name, METRICS), "repeated P@20", "new P@20", "epoch s"]
    # Runs of before it was measured have none.
    with_cpu = any("cpu_seconds" in run for runs in models.values() for run in runs)
    head += ["CPU s"] * with_cpu
    rows = []
    for model in ordered:
        runs = models[model]
        cells = [model, str(len(runs)), *(cell_of([run["test"] for run in runs], metric) for metric in METRICS)]
        for kind in ("repeat", "new"):
            parts = [run["slices"][kind]["metrics"] for run in runs if kind in run["slices"]]
            cells.append(cell_of(parts, "hit@20"))
        cells.append(f"{statistics.median(run['epoch_seconds'] for run in runs):.0f}")
        if with_cpu:
            cpu = [run["cpu_seconds"] for run in runs if "cpu_seconds" in run]
            cells.append(f"{statistics.median(cpu):.0f}" if cpu else "-")
        rows.append(cells)
    return f"{caption(protocol)}\n\n{tabular.markdown(head, rows)}"


def protocol_of(result: Mapping) -> Protocol:
    """The protocol of one run's ``metrics.json``."""
    return Protocol.read(result["protocol"], f"the metrics.json of {result['model']}, seed {result['seed']}")


def caption(protocol: Protocol) -> str:
    """What stands above a table: its data set, and the protocol in words."""
    return f"**{tabular.escaped(protocol.dataset)}** (protocol {protocol.fingerprint}): {'; '.join(protocol.lines())}."


def mean_of(runs: Sequence[dict], metric: str) -> float:
    """Mean over runs; 0 where one was evaluated without this metric."""
    return statistics.fmean(run["test"].get(metric, 0.0) for run in runs)


def cell_of(parts: Sequence[Mapping[str, float]], metric: str) -> str:
    """A metric's cell; "-" where a run was evaluated without it (another ``topk`` or ``metrics``)."""
    values = [part[metric] for part in parts if metric in part]
    return cell(values) if values and len(values) == len(parts) else "-"


def cell(values: Sequence[float]) -> str:
    """Mean in percent, with the standard deviation over seeds where there are at least two."""
    text = f"{100 * statistics.fmean(values):.2f}"
    return text if len(values) < 2 else f"{text} ± {100 * statistics.stdev(values):.2f}"


def insert(path: Path, text: str) -> None:
    """Replace what stands between the two markers of a file.

    Raises:
        UserError: the file or a marker is missing.
    """
    insert_between(path, BEGIN, END, text)
