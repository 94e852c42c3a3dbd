"""A published table measured again: its data, protocol and settings from a file, published and measured side by side.

``properties/reproduction/<name>.yaml`` says all of it, so that the next paper is a file: ``title``, ``source``,
``get_data`` (where its files are to be had), ``data`` (name, train and test file, hashes, options of ``prepare``),
``published_on`` (of which test sessions the published figures are), ``metrics``, ``notes``, ``settings`` of all rows,
and ``rows``: by model, its ``published`` figures and ``settings``.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_tme.comparison.runs import Ended, Job
from recbole_tme.config.load import SessionConfig, load_config
from recbole_tme.data.prepare import prepare
from recbole_tme.data.textfile import reading
from recbole_tme.errors import UserError
from recbole_tme.evaluation.metrics import metric_key
from recbole_tme.evaluation.protocol import Protocol, load_data
from recbole_tme.evaluation.ranks import Ranks
from recbole_tme.evaluation.significance import Estimate, estimate
from recbole_tme.evaluation.summary import shown_name
from recbole_tme.models import registry
from recbole_tme.schema.property_files import properties_root
from recbole_tme.schema.yamlfile import read_settings
from recbole_tme.utils import tabular
from recbole_tme.utils.spelling import did_you_mean

KEYS = ("title", "source", "get_data", "data", "published_on", "metrics", "notes", "settings", "rows")
BLOCK = 2**20


@dataclass(frozen=True)
class Row:
    """One model of the table.

    Attributes:
        model: its name.
        settings: its own.
        published: figures by metric key, fractions; empty for a model that the paper does not have.
    """

    model: str
    settings: Mapping
    published: Mapping[str, float]


@dataclass(frozen=True)
class Reproduction:
    """What ``properties/reproduction/<name>.yaml`` says; see the module.

    Attributes:
        first_sessions, instances: the published figures are of so many sessions at the begin of the test file, which
            hold so many instances; None for all.
    """

    name: str
    title: str
    source: str
    get_data: str
    data: Mapping
    first_sessions: int | None
    instances: int | None
    metrics: list[str]
    notes: list[str]
    settings: Mapping
    rows: list[Row]

    def chosen(self, models: Sequence[str] | None) -> list[Row]:
        """The rows of some models, all by default.

        Raises:
            UserError: a model has no row; names those that have.
        """
        names = [row.model for row in self.rows]
        for model in models or ():
            if model not in names:
                raise UserError(
                    f"--models: {self.name} has no row {model}{did_you_mean(model, names)} (rows: {', '.join(names)})"
                )
        return [row for row in self.rows if models is None or row.model in models]


def names() -> list[str]:
    """The tables there are."""
    return sorted(path.stem for path in (properties_root() / "reproduction").glob("*.yaml"))


def read(name: str) -> Reproduction:
    """The table of a name.

    Raises:
        UserError: there is none of that name, or its file lacks a key.
    """
    if name not in names():
        raise UserError(f"there is no table {name}{did_you_mean(name, names())} (tables: {', '.join(names())})")
    path = properties_root() / "reproduction" / f"{name}.yaml"
    given = read_settings(path).values
    if set(given) != set(KEYS):
        odd = ", ".join(sorted(set(given) ^ set(KEYS)))
        raise UserError(f"{path}: should have exactly the keys {', '.join(KEYS)}; check {odd}")
    metrics = [metric_key(metric, f"{path}: metrics") for metric in given["metrics"]]
    rows = []
    for model, row in given["rows"].items():
        published = {metric_key(k, f"{path}: {model}"): float(v) for k, v in row.get("published", {}).items()}
        rows.append(Row(model, row.get("settings", {}), published))
    first = given["published_on"] or {}
    return Reproduction(
        name=name,
        data=given["data"],
        first_sessions=first.get("first_sessions"),
        instances=first.get("instances"),
        metrics=metrics,
        rows=rows,
        **{key: given[key] for key in ("title", "source", "get_data", "notes", "settings")},
    )


def find_file(table: Reproduction, folder: Path, split: str) -> Path:
    """The train or test file in the user's folder, compressed by gzip or not, whose content is the paper's.

    Raises:
        UserError: it is not there, or is another file; says where to get it.
    """
    name = table.data[split]
    found = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
    if not found:
        raise UserError(f"{folder}: has no {name} or {name}.gz; --data is the folder with {table.get_data}")
    wanted = table.data["sha256"][split]
    digest = hashlib.sha256()
    with reading(found[0]), opened(found[0]) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    if not digest.hexdigest().startswith(wanted):
        raise UserError(
            f"{found[0]}: is another file than the paper's (SHA-256 {digest.hexdigest()[:8]}, not {wanted}); get "
            f"{table.get_data}"
        )
    return found[0]


def opened(path: Path):
    """A file's content in bytes, unpacked."""
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def first_sessions(path: Path, column: str, n: int) -> list[str]:
    """The names of the first ``n`` sessions of a tab-separated click log, in order of the file.

    Raises:
        UserError: the file lacks the column or has fewer sessions.
    """
    with reading(path), opened(path) as file:
        head = file.readline().decode().rstrip("\r\n").split("\t")
        if column not in head:
            raise UserError(f"{path}:1: has no column {column}")
        place = head.index(column)
        found: dict[str, None] = {}
        for line in file:
            found.setdefault(line.decode().rstrip("\r\n").split("\t")[place])
            if len(found) > n:
                found.popitem()
                break
    if len(found) < n:
        raise UserError(f"{path}: has {len(found)} sessions, fewer than the {n} that the published figures are of")
    return list(found)


def prepared(table: Reproduction, folder: Path, data_path: Path) -> list[str] | None:
    """Prepare the data set below ``data_path``, unless it is there, and name the sessions of the published figures.

    Returns:
        Their names; None where the published figures are of all sessions.

    Raises:
        UserError: the files are missing, or others than the paper's.
    """
    train, test = (find_file(table, folder, split) for split in ("train", "test"))
    options = dict(table.data["options"])
    if not (data_path / table.data["name"]).exists():
        prepare(None, table.data["name"], data_path, train=train, test=test, **options)
    return None if table.first_sessions is None else first_sessions(test, options["session"], table.first_sessions)


def jobs(table: Reproduction, rows: Sequence[Row], seeds: int, overrides: Mapping, logs: Path) -> list[Job]:
    """The runs of some rows, one where no seed can change the result.

    Args:
        table: the table.
        rows: of it.
        seeds: how many per model, from the key ``seed`` on.
        overrides: settings that beat the table's, for all rows.
        logs: folder for the processes' output.
    """
    made = []
    fingerprint = None
    for row in rows:
        config = config_of(table, row, overrides)
        fixed = registry.is_seed_independent(config.model_class)
        if fingerprint is None:
            fingerprint = Protocol.of(config, load_data(config)).fingerprint
        for number in range(1 if fixed else seeds):
            own = config if number == 0 else config_of(table, row, {**overrides, "seed": config["seed"] + number})
            log = logs / f"{row.model.replace(':', '-')}-s{own['seed']}-{own.hash()}.txt"
            made.append(Job(row.model, own, fingerprint, log))
    return made


def config_of(table: Reproduction, row: Row, overrides: Mapping) -> SessionConfig:
    """The configuration of a row's runs."""
    settings = {**table.settings, **row.settings}
    return load_config(row.model, table.data["name"], config_dict=settings, overrides=overrides)


@dataclass(frozen=True)
class Measured:
    """A row of the result.

    Attributes:
        row: what was published.
        on_published: our estimates of the published sessions by metric; None where those are all.
        on_all: our estimates of all test sessions by metric; empty for a model of which no run ended well.
        reason: why, of a model without a run.
    """

    row: Row
    on_published: dict[str, Estimate] | None
    on_all: dict[str, Estimate]
    reason: str = ""


def measure(table: Reproduction, rows: Sequence[Row], ended: Sequence[Ended], wanted: list[str] | None):
    """Published and measured figures of each row, with 95 % intervals.

    Args:
        table: the table.
        rows: of it.
        ended: the runs.
        wanted: names of the sessions that the published figures are of.

    Raises:
        UserError: the data set is not the published one.
    """
    measured = []
    for row in rows:
        runs = [one for one in ended if one.job.row == row.model]
        done = [one for one in runs if one.directory is not None]
        if not done:
            measured.append(Measured(row, None, {}, runs[0].reason or "no run"))
            continue
        ranks = [Ranks.load(one.directory / "ranks.npz") for one in done]
        fixed = [row.model] if registry.is_seed_independent(done[0].job.config.model_class) else []
        part = None
        if wanted is not None:
            mask = published_mask(table, done[0].job.config, ranks[0], wanted)
            part = by_metric(row.model, [one.select(mask) for one in ranks], table.metrics, fixed)
        measured.append(Measured(row, part, by_metric(row.model, ranks, table.metrics, fixed)))
    return measured


def published_mask(table: Reproduction, config: SessionConfig, ranks: Ranks, wanted: list[str]) -> np.ndarray:
    """The instances of the sessions ``wanted``, bool ``[n]``.

    Raises:
        UserError: they are not as many as the published figures are of.
    """
    data = load_data(config)
    mask = np.isin(np.asarray(data.test.ids, dtype=str), wanted)[ranks.session]
    if table.instances is not None and mask.sum() != table.instances:
        raise UserError(
            f"{config['data_path']}/{config['dataset']}: {mask.sum()} instances belong to the published sessions, not "
            f"{table.instances}; delete that folder, so that it is prepared again"
        )
    return mask


def by_metric(model: str, ranks: list[Ranks], metrics: Sequence[str], fixed: Sequence[str]) -> dict[str, Estimate]:
    """Our estimates by metric key."""
    return {line.metric: line for line in estimate({model: ranks}, metrics, seed_independent=fixed)}


def page(table: Reproduction, measured: Sequence[Measured], command: str) -> str:
    """The result in Markdown."""
    parts = [f"### {table.title}", f"`{command}`", f"Source: {table.source}."]
    some = next((one for one in measured if one.on_all), None)
    if some is not None:
        sizes = [f"all {next(iter(some.on_all.values())).sessions:,} test sessions"]
        if some.on_published is not None:
            n = next(iter(some.on_published.values())).sessions
            sizes.insert(0, f"the {n} test sessions that the published figures are of ({table.instances:,} instances)")
        parts.append(f"Ours with 95 % intervals, on {' and on '.join(sizes)}; fractions as published.")
    head = ["model"]
    for metric in table.metrics:
        name = shown_name(metric)
        head += [f"{name} published", *([f"{name} ours, same sessions"] if table.first_sessions else [])]
        head.append(f"{name} ours, all sessions")
    head += ["seeds", "interval over"]
    parts.append(tabular.markdown(head, [list(cells(table, one)) for one in measured]))
    parts.append("\n".join(f"* {note}" for note in table.notes))
    return "\n\n".join(filter(None, parts))


def cells(table: Reproduction, one: Measured) -> Iterator[str]:
    """A row's cells."""
    yield one.row.model
    for metric in table.metrics:
        published = one.row.published.get(metric)
        yield "-" if published is None else f"{published:.3f}"
        if table.first_sessions:
            yield shown(one.on_published, metric)
        yield shown(one.on_all, metric)
    line = next(iter(one.on_all.values()), None)
    yield "failed" if line is None else str(line.seeds)
    yield one.reason if line is None else line.over


def shown(estimates: Mapping[str, Estimate] | None, metric: str) -> str:
    """``.540 [.520, .562]``, or a dash."""
    if not estimates:
        return "-"
    line = estimates[metric]
    return f"{line.value:.3f} [{line.low:.3f}, {line.high:.3f}]"
