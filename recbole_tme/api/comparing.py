"""Train several models by one protocol and report on them, and the comparison as an object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_tme.api.display import html_table
from recbole_tme.api.running import PathLike, Run, load_plugins, overrides, paths
from recbole_tme.comparison.plan import Plan, plan
from recbole_tme.comparison.progress import Progress
from recbole_tme.comparison.runs import Ended, Job, already_done, run_here, run_on_cluster
from recbole_tme.config.load import SessionConfig
from recbole_tme.errors import Interrupted, UserError
from recbole_tme.evaluation.summary import shown_name
from recbole_tme.experiment.loading import find_run
from recbole_tme.report.comparison import ranking, write_report, written_to
from recbole_tme.report.section import Section
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.utils import terminal
from recbole_tme.utils.files import alone_in, write_json, writing

if TYPE_CHECKING:
    import pandas as pd


class Comparison:
    """Models that were trained and evaluated by one protocol; made by :func:`compare`.

    Attributes:
        path: the folder of the report.
        runs: the finished runs, in the order of the plan.
        failures: runs that gave no result, each with model, seed, reason and log.
        protocol: data, split and rules of the evaluation that all runs share.
    """

    def __init__(
        self,
        path: Path,
        runs: Sequence[Run],
        failures: Sequence[dict[str, Any]],
        protocol: dict[str, Any],
        sections: Sequence[Section],
    ):
        self.path, self.runs, self.failures, self.protocol = path, list(runs), list(failures), protocol
        self._sections = list(sections)

    def to_frame(self) -> pd.DataFrame:
        """A row per model, the best first: its seeds, and each metric in per cent with its 95 % interval."""
        import pandas as pd

        rows = {}
        for section in self._sections:
            for model in section.models:
                row: dict[str, Any] = {"seeds": len(model.seeds)}
                for metric, line in model.estimates.items():
                    name = shown_name(metric)
                    row |= {name: 100 * line.value, f"{name} low": 100 * line.low, f"{name} high": 100 * line.high}
                rows[model.name] = row
        return pd.DataFrame.from_dict(rows, orient="index")

    def differences(self) -> pd.DataFrame:
        """A row per model and metric: the difference from the reference in points, its interval, and the tests."""
        import pandas as pd

        rows = [asdict(line) for section in self._sections for line in section.comparisons]
        frame = pd.DataFrame(rows)
        if rows:
            frame["metric"] = frame["metric"].map(shown_name)
            frame[["difference", "low", "high"]] *= 100
        return frame

    @property
    def html(self) -> str:
        """The report's page, which asks for nothing beyond itself."""
        return (self.path / "report.html").read_text(encoding="utf-8")

    def __repr__(self) -> str:
        names = ", ".join(model.name for section in self._sections for model in section.models)
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"<Comparison of {names or 'no finished run'}: {len(self.runs)} runs{failed}; {self.path}>"

    def __str__(self) -> str:
        return f"{ranking(self._sections)}\n\n{written_to(self.path)}"

    def _repr_html_(self) -> str:
        shown = ("seeds", "P@20", "P@20 low", "P@20 high", "MRR@20", "MRR@20 low", "MRR@20 high")
        frame = self.to_frame()
        return html_table(frame[[name for name in shown if name in frame]], f"{self.protocol['dataset']}; {self.path}")


def compare(
    models: Sequence[str] | str,
    dataset: str | None = None,
    *,
    seeds: int | Sequence[int] | str = 3,
    config_files: Sequence[PathLike] | PathLike = (),
    tuned: PathLike | None = None,
    plugin: Sequence[PathLike] | PathLike = (),
    reference: str | None = None,
    out: PathLike | None = None,
    workers: int = 1,
    ray_address: str | None = None,
    **settings: Any,
) -> Comparison:
    """Train and evaluate models on the same data by the same protocol, and report on them.

    Finished runs with the same settings are used again and interrupted ones continued.

    Args:
        models: names, each followed by settings of its own if any: ``["TMEGNN", "TMEGNN triplet_weight=0", "STAN"]``.
        dataset: the data set's name; default ``ml100k-sessions``.
        seeds: how many, from the key ``seed`` on, or a list of them.
        config_files: YAML files of settings for all models.
        tuned: a folder of finished searches, whose best settings are taken.
        plugin: files that define further models.
        reference: the model that the others are tested against; default the best.
        out: folder of the report; default ``<run_dir>/<dataset>/compare-<name>``.
        workers: runs at once on this machine.
        ray_address: spread the runs over a Ray cluster: ``auto`` or ``HOST:PORT``.
        **settings: configuration keys for all models; ignored by models that lack the key.

    Raises:
        UserError: a model, key or value is wrong, the rows do not share one protocol, the data set is not there, or the
            folder cannot be written. A model that fails in training costs its row and is in ``failures``.
    """
    load_plugins(plugin)
    planned = plan_comparison(models, dataset, seeds, config_files, tuned, settings, reference, workers)
    return carry_out(planned, reference, out, workers, ray_address)


def plan_comparison(
    models: Sequence[str] | str,
    dataset: str | None,
    seeds: int | Sequence[int] | str,
    config_files: Sequence[PathLike] | PathLike,
    tuned: PathLike | None,
    settings: Any,
    reference: str | None = None,
    workers: int = 1,
) -> Plan:
    """Resolve and check everything that :func:`compare` would train; arguments as there.

    Raises:
        UserError: as there.
    """
    listed = models if isinstance(models, str) else ",".join(models)
    numbers = str(seeds) if isinstance(seeds, (int, str)) else ",".join(map(str, seeds)) + ","
    folder = None if tuned is None else Path(tuned)
    if workers < 1:
        raise UserError(f"--workers: {workers} processes train nothing; write --workers=1")
    planned = plan(listed, dataset, paths(config_files), overrides(settings), numbers, folder)
    if reference is not None:
        planned.row(reference)
    return planned


def carry_out(
    planned: Plan,
    reference: str | None = None,
    out: PathLike | None = None,
    workers: int = 1,
    ray_address: str | None = None,
) -> Comparison:
    """Train what is missing of a plan, and write the report; arguments as for :func:`compare`.

    Raises:
        UserError: as there.
        Interrupted: by Ctrl-C; the same call goes on where this one stopped.
    """
    row = None if reference is None else planned.row(reference)
    config = planned.rows[0].configs[0]
    folder = Path(out or Path(config["run_dir"]) / config["dataset"] / f"compare-{planned.hash()}")
    fingerprint = planned.protocol.fingerprint
    jobs = [Job(row.name, config, fingerprint, log_file(folder, row.name, config)) for row, config in planned.runs()]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with alone_in(folder):
            ended = do_all(jobs, workers, ray_address)
            return finish(folder, planned, ended, None if row is None else row.name)
    except KeyboardInterrupt:
        raise Interrupted("the same command goes on where this one stopped") from None


def do_all(jobs: Sequence[Job], workers: int, ray_address: str | None) -> list[Ended]:
    """Do what is left to do, with a line per run that ended, and on a terminal what is at work.

    Returns:
        How each job ended, now or before, in the order given.
    """
    ended = {job.log: one for job in jobs if (one := already_done(job))}
    left = [job for job in jobs if job.log not in ended]
    if left:
        progress = Progress(jobs, list(ended.values()), workers)
        here = (left, workers, progress.epoch, progress.began)
        results = run_on_cluster(left, ray_address) if ray_address else run_here(*here)
        # Closed at once, so that an interrupt ends what is running.
        with terminal.live(progress.lines), closing(results):
            for one in results:
                ended[one.job.log] = one
                progress.ended(one)
    return [ended[job.log] for job in jobs]


def finish(out: Path, planned: Plan, ended: Sequence[Ended], reference: str | None) -> Comparison:
    """Write ``plan.json``, ``failures.json`` and the report on the runs that finished.

    Args:
        out: folder of the report.
        planned: what was compared.
        ended: how each run ended, in the order of the plan.
        reference: name of the row that the others are tested against; one without a finished run is none.
    """
    finished = [one for one in ended if one.directory is not None]
    directories = [one.directory for one in ended if one.directory is not None]
    failures = [failure(one) for one in ended if one.directory is None]
    record = plan_record(planned, ended)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    for name, content in (("plan.json", record), ("failures.json", failures)):
        write_json(out / name, content)
    # By directory: a row's name in the report may be shorter, where others of its model failed.
    of_reference = [str(one.directory) for one in finished if one.job.row == reference]
    if reference is not None and not of_reference:
        terminal.note(f"--reference: {reference} has no finished run; the best model takes its place")
    sections: Sequence[Section] = ()
    if finished:
        first = of_reference[0] if of_reference else None
        sections = write_report(directories, out, reference=first, failures=failures, plan=record)
        track_report(out, planned.rows[0].configs[0])
    return Comparison(out, [Run(directory) for directory in directories], failures, planned.protocol.plain(), sections)


def track_report(out: Path, config: SessionConfig) -> None:
    """Give the report to the trackers that keep files, as a run of its own beside those of the models.

    Raises:
        UserError: one refuses it.
    """
    from recbole_tme.experiment.trackers import KEEPING_FILES, opened

    names = [name for name in config["logger"] or () if name in KEEPING_FILES]
    trackers = opened(names, config, out, out / "tensorboard")
    trackers.keep([out / name for name in ("report.html", "comparison.csv", "plan.json")])
    trackers.close()


def plan_lines(comparison: Plan) -> Iterator[str]:
    """What is compared, what of it is there already, and by which protocol."""
    protocol = comparison.protocol
    runs = [(row, config, find_run(config, protocol.fingerprint)) for row, config in comparison.runs()]
    new = sum(found is None or not found.finished for _, _, found in runs)
    yield f"{protocol.dataset} (protocol {protocol.fingerprint})"
    for line in protocol.lines():
        yield from terminal.fold(line, "  ")
    yield f"{len(runs)} runs, {new} of them to be trained"
    yield ""
    for row in comparison.rows:
        yield from terminal.fold(row.name, "  ")
        if row.study is not None:
            yield f"  tuned ({row.study.record.get('trials', '?')} trials): {row.study.file}"
        if row.entry.seed_independent:
            yield "  one run, as no seed changes its result"
        for config, found in ((config, found) for own, config, found in runs if own is row):
            yield f"  seed {config['seed']}: {state(found)}"


def state(found: RunDirectory | None) -> str:
    """What is to be done for a run, of which there may be a directory already."""
    if found is None:
        return "train"
    return f"{'use' if found.finished else 'continue'} {found.path}"


def log_file(out: Path, row: str, config: SessionConfig) -> Path:
    """The file that the process of a run writes to."""
    name = "".join(sign if sign.isalnum() or sign in "+-_.=" else "-" for sign in row)
    return out / "logs" / f"{name[:80]}-s{config['seed']}-{config.hash()}.txt"


def failure(ended: Ended) -> dict[str, Any]:
    """A run that failed, as the report shows it."""
    job = ended.job
    return {"model": job.row, "seed": job.config["seed"], "reason": ended.reason, "log": str(job.log)}


def plan_record(comparison: Plan, ended: Sequence[Ended]) -> dict[str, Any]:
    """What was compared, as plain data.

    Returns:
        ``command`` that compares the same again; ``dataset``; ``protocol``; ``seeds``; ``rows``, each with its name,
        model, own settings, source of searched settings and run directories (null for one that failed);
        ``seed_independent``, the models that ran once because no seed changes their result; ``tuning``, the
        ``study.json`` of each model that has one.
    """
    rows = []
    for row in comparison.rows:
        directories = [one.directory for one in ended if one.job.row == row.name]
        rows.append(
            {
                "name": row.name,
                "model": row.configs[0].registered_name,
                "settings": dict(row.entry.settings),
                "tuned": str(row.study.file) if row.study else None,
                "runs": [None if directory is None else str(directory) for directory in directories],
            }
        )
    return {
        "command": comparison.command,
        "dataset": comparison.protocol.dataset,
        "protocol": comparison.protocol.plain(),
        "seeds": list(comparison.seeds),
        "rows": rows,
        "seed_independent": [row.configs[0].registered_name for row in comparison.rows if row.entry.seed_independent],
        "tuning": {row.configs[0].registered_name: row.study.record for row in comparison.rows if row.study},
    }
