"""``recbole-tme compare``: models trained and evaluated by one protocol, and a report on them."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from tqdm import tqdm

from recbole_tme.comparison.plan import Comparison, Row, plan
from recbole_tme.comparison.runs import Ended, Job, already_done, find_run, run_here, run_on_cluster
from recbole_tme.config.load import SessionConfig, named_files
from recbole_tme.errors import UserError
from recbole_tme.models.registry import load_plugin
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.utils import tabular
from recbole_tme.utils.files import write_json, writing

TAKES_KEYS = True
INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``recbole-tme compare``."""
    parser.usage = "recbole-tme compare --models=NAME,... [--dataset=NAME] [--seeds=N] [options] [--KEY=VALUE ...]"
    parser.description = (
        "Train and evaluate models on the same data by the same protocol, and report on them with intervals and tests. "
        "Finished runs with the same settings are used again and broken-off ones continued, so the same command goes "
        "on where it was stopped. Any configuration key can be set for all models; one that a model does not have is "
        "passed over for it. Exit code: 0 all done, 1 a model failed, 2 bad input, 130 interrupted."
    )
    parser.add_argument("--models", required=True, help="comma-separated names, each followed by settings of its own "
                        "if any: 'TMEGNN,TMEGNN triplet_weight=0,ATSRec+SASRec,recbole:NARM,STAN'")  # fmt: skip
    parser.add_argument("--dataset", help="default ml100k-sessions, which every install has")
    parser.add_argument("--seeds", default="3", help="how many, from the key seed on (2020), or a list such as 1,2,3 "
                        "(default: %(default)s)")  # fmt: skip
    parser.add_argument("--config_files", default="", help="comma- or space-separated YAML files for all models")
    parser.add_argument("--tuned", type=Path, help="take each model's settings from the best.yaml of a search below "
                        "this folder")  # fmt: skip
    parser.add_argument("--plugin", action="append", default=[], help="a file that defines further models")
    parser.add_argument("--reference", help="the model that the others are tested against (default: the best)")
    parser.add_argument("--out", type=Path, help="folder of the report (default: <run_dir>/<dataset>/compare-<name>)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be trained and what is there already")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--workers", type=int, default=1, help="runs at once on this machine, which share its cores")
    where.add_argument("--ray-address", help="spread the runs over a Ray cluster (auto or HOST:PORT) whose nodes see "
                       "the same folders")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme compare`` with parsed arguments; ``args.overrides`` are settings for all models.

    Raises:
        UserError: an option is impossible, or as ``plan``.
    """
    if args.workers < 1:
        raise UserError(f"--workers: {args.workers} processes train nothing; write --workers=1")
    for plugin in args.plugin:
        load_plugin(Path(plugin))
    files = named_files(args.config_files)
    comparison = plan(args.models, args.dataset, files, args.overrides, args.seeds, args.tuned)
    reference = None if args.reference is None else comparison.row(args.reference)
    config = comparison.rows[0].configs[0]
    out = args.out or Path(config["run_dir"]) / config["dataset"] / f"compare-{comparison.hash()}"
    print("\n".join(plan_lines(comparison)), file=sys.stdout if args.dry_run else sys.stderr)
    if args.dry_run:
        return 0
    fingerprint = comparison.protocol.fingerprint
    jobs = [Job(row.name, config, fingerprint, log_file(out, row.name, config)) for row, config in comparison.runs()]
    try:
        ended = do_all(jobs, args.workers, args.ray_address)
        return finish(out, comparison, ended, None if reference is None else reference.name)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return INTERRUPTED


def do_all(jobs: Sequence[Job], workers: int, ray_address: str | None) -> list[Ended]:
    """Do what is left to do, with one progress bar on a terminal and a line per run that ended.

    Returns:
        How each job ended, now or before, in the order given.
    """
    ended = {job.log: one for job in jobs if (one := already_done(job))}
    left = [job for job in jobs if job.log not in ended]
    if left:
        with tqdm(total=len(jobs), initial=len(ended), desc="compare", unit="run", disable=None) as bar:

            def on_epoch(job: Job, epoch: int, score: float) -> None:
                said = f"epoch {epoch}, {job.config['valid_metric']} {100 * score:.2f}"
                bar.set_postfix_str(f"{job.row}, seed {job.config['seed']}: {said}")

            results = run_on_cluster(left, ray_address) if ray_address else run_here(left, workers, on_epoch)
            # Closed at once, so that an interrupt ends what is running.
            with closing(results):
                for one in results:
                    ended[one.job.log] = one
                    bar.update()
                    what = one.directory or f"failed: {one.reason} ({one.job.log})"
                    tqdm.write(f"{one.job.row}, seed {one.job.config['seed']}: {what}", file=sys.stderr)
    return [ended[job.log] for job in jobs]


def finish(out: Path, comparison: Comparison, ended: Sequence[Ended], reference: str | None) -> int:
    """Write ``plan.json``, ``failures.json`` and the report on the runs that finished.

    Args:
        out: folder of the report.
        comparison: what was compared.
        ended: how each run ended, in the order of the plan.
        reference: name of the row that the others are tested against; one without a finished run is none.

    Returns:
        The exit code.
    """
    from recbole_tme.report.comparison import write_report

    finished = [one for one in ended if one.directory is not None]
    failures = [failure(one) for one in ended if one.directory is None]
    record = plan_record(comparison, ended)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    for name, content in (("plan.json", record), ("failures.json", failures)):
        write_json(out / name, content)
    # By directory: a row's name in the report may be shorter, where others of its model failed.
    of_reference = [str(one.directory) for one in finished if one.job.row == reference]
    if reference is not None and not of_reference:
        print(f"note: --reference: {reference} has no finished run; the best model takes its place", file=sys.stderr)
    if finished:
        first = of_reference[0] if of_reference else None
        write_report([one.directory for one in finished], out, reference=first, failures=failures, plan=record)
    else:
        print(f"no run finished; the reasons are in {out / 'failures.json'}", file=sys.stderr)
    return 1 if failures else 0


def plan_lines(comparison: Comparison) -> Iterator[str]:
    """What is compared, what of it is there already, and by which protocol."""
    protocol = comparison.protocol
    rows, new = [], 0
    for row, config in comparison.runs():
        found = find_run(config, protocol.fingerprint)
        new += found is None or not found.finished
        rows.append([row.name, str(config["seed"]), state(found), *remarks(row)])
    yield f"{protocol.dataset} (protocol {protocol.fingerprint})"
    yield from protocol.lines()
    yield f"{len(rows)} runs, {new} of them to be trained"
    yield tabular.aligned(["model", "seed", "what", "settings", ""], rows)


def state(found: RunDirectory | None) -> str:
    """What is to be done for a run, of which there may be a directory already."""
    if found is None:
        return "train"
    return f"{'use' if found.finished else 'continue'} {found.path}"


def remarks(row: Row) -> list[str]:
    """Where a row's settings come from, and why it may have one seed only."""
    record = row.study.record if row.study else {}
    source = "as given" if row.study is None else f"{row.study.file} ({record.get('trials', '?')} trials)"
    return [source, "no seed changes its result: one run" if row.entry.seed_independent else ""]


def log_file(out: Path, row: str, config: SessionConfig) -> Path:
    """The file that the process of a run writes to."""
    name = "".join(sign if sign.isalnum() or sign in "+-_.=" else "-" for sign in row)
    return out / "logs" / f"{name[:80]}-s{config['seed']}-{config.hash()}.txt"


def failure(ended: Ended) -> dict:
    """A run that failed, as the report shows it."""
    job = ended.job
    return {"model": job.row, "seed": job.config["seed"], "reason": ended.reason, "log": str(job.log)}


def plan_record(comparison: Comparison, ended: Sequence[Ended]) -> dict:
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
        "command": shlex.join(["recbole-tme", *sys.argv[1:]]),
        "dataset": comparison.protocol.dataset,
        "protocol": comparison.protocol.plain(),
        "seeds": list(comparison.seeds),
        "rows": rows,
        "seed_independent": [row.configs[0].registered_name for row in comparison.rows if row.entry.seed_independent],
        "tuning": {row.configs[0].registered_name: row.study.record for row in comparison.rows if row.study},
    }
