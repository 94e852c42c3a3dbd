"""Nightly updates against training from nothing every night: quality on the next day, and CPU seconds.

    python benchmarks/nightly.py --data dataset_atomic/yoochoose-100k --name yoochoose-100k --into docs/production.md

The data set is cut into days (UTC) by its sessions' last clicks. A model is trained on the first ones; then each night
a day's log arrives, and three models are measured on all clicks of the next day, those on items that they cannot know
among them (they count as missed): the first one as it is, the one of the night before carried over by
``recbole-tme update``, and one trained from nothing on all sessions so far, the held-out ones among them, for as many
epochs as were selected once (``recbole-tme refit``). What selecting them anew would take (``recbole-tme run``) is given
too. One thread. Updates and trainings for known epochs are done twice, and the quicker one counts.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from load import machine

from recbole_tme.config.load import load_config
from recbole_tme.data.catalogue import NamedSessions, assemble
from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.loader import SessionEvalLoader
from recbole_tme.data.prepare import prepare
from recbole_tme.data.ragged import concatenate, take_sessions
from recbole_tme.data.readers.atomic import read_dataset
from recbole_tme.data.sessions import Sessions
from recbole_tme.data.split import SECONDS_PER_DAY, by_last_click
from recbole_tme.evaluation.metrics import evaluate
from recbole_tme.evaluation.ranks import rank_all
from recbole_tme.experiment.loading import build_model
from recbole_tme.experiment.refit import refit
from recbole_tme.experiment.run import run
from recbole_tme.runs.checkpoint import restore_model
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.runs.lineage import read_lineage
from recbole_tme.updating.carry import old_rows
from recbole_tme.updating.parent import read_parent
from recbole_tme.updating.served import Served
from recbole_tme.updating.update import UpdateOptions, update
from recbole_tme.utils.files import insert_between

MARKERS = "<!-- nightly -->", "<!-- /nightly -->"
SHOWN = ("hit@20", "mrr@20")
NAMES = ("the first model, never updated", "updated every night", "trained from nothing every night")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("dataset_atomic/yoochoose-100k"))
    parser.add_argument("--name", default="yoochoose-100k")
    parser.add_argument("--model", default="DANSeR")
    parser.add_argument("--first-days", type=int, default=3, help="days that the first model is trained on")
    parser.add_argument("--epochs", type=int, default=UpdateOptions.epochs, help="of an update")
    parser.add_argument("--replay", type=float, default=UpdateOptions.replay)
    parser.add_argument("--learning-rate", type=float, default=UpdateOptions.learning_rate)
    parser.add_argument("--least-sessions", type=int, default=100, help="a day with fewer belongs to the one before")
    parser.add_argument("--into", type=Path, help=f"put the table between {MARKERS[0]} and {MARKERS[1]} of this file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        text = report(args, study(args, Path(folder)))
    print(text)
    if args.into is not None:
        insert_between(args.into, *MARKERS, text)


def study(args, folder: Path) -> list[dict]:
    """A row per night: the sessions so far, CPU seconds, and metrics by model."""
    days, tokens = cut_into_days(args)
    logs = [write_log(folder / f"day{k}.csv", day, tokens) for k, day in enumerate(days)]
    prepare(logs[: args.first_days], "shop", folder / "data", min_support=1)
    settings = {"data_path": str(folder / "data"), "run_dir": str(folder / "runs")}
    fixed = {"threads": 1, "device": "cpu", "show_progress": False}
    first = run(load_config(args.model, "shop", config_dict=settings | fixed))
    how = UpdateOptions(args.epochs, args.learning_rate, args.replay, promote="always")
    latest, rows = first, []
    for night in range(args.first_days, len(days) - 1):
        seconds = {}
        latest, seconds["update"] = quicker(update, latest.path, [logs[night]], options=how)
        anew, seconds["refit"] = quicker(refit, latest.path)
        data_path = {"data_path": str(latest.data_dir), "run_dir": str(folder / "selected")}
        config = load_config(args.model, "shop", config_dict=data_path | fixed)
        _, seconds["run"] = timed(run, config)
        metrics = [quality(one, days[night + 1], tokens) for one in (first, latest, anew)]
        sessions = int(read_lineage(latest)["sessions"]["old"]) + len(days[night])
        rows.append({"night": night + 1, "sessions": sessions, "seconds": seconds, "metrics": metrics})
    return rows


def cut_into_days(args) -> tuple[list[Sessions], np.ndarray]:
    """The sessions of each day, over one catalogue."""
    data = read_dataset(args.data, args.name)
    splits = [split for split in (data.train, data.valid, data.test) if split is not None]
    sessions = by_last_click(concatenate(splits))
    day = (sessions.times[sessions.offsets[1:] - 1] // SECONDS_PER_DAY).astype(int)
    for one, count in zip(*np.unique(day, return_counts=True)):
        if count < args.least_sessions:
            day[day == one] = one - 1
    return [take_sessions(sessions, day == one) for one in np.unique(day)], data.tokens


def write_log(path: Path, sessions: Sessions, tokens: np.ndarray) -> Path:
    """A day as a click log."""
    names = np.repeat(sessions.ids, sessions.lengths)
    rows = zip(names, tokens[sessions.items], sessions.times)
    path.write_text("session,item,time\n" + "".join(f"{s},{i},{t:.3f}\n" for s, i, t in rows))
    return path


def timed(work: Callable, *args, **kwargs):
    """What it returns, and the CPU seconds that it took."""
    started = time.process_time()
    return work(*args, **kwargs), time.process_time() - started


def quicker(work: Callable, *args, **kwargs):
    """The same for the quicker of two times: what else the machine does makes CPU seconds longer, never shorter."""
    return min((timed(work, *args, **kwargs) for _ in range(2)), key=lambda found: found[1])


def quality(directory: RunDirectory, day: Sessions, tokens: np.ndarray) -> dict[str, float]:
    """A model's metrics over all instances of a day."""
    parent = read_parent(directory.path)
    model, loaders = build_model(parent.config, parent.data)
    restore_model(model, {"state_dict": parent.weights}, directory.model_file)
    named = NamedSessions(day, tokens)
    data = assemble("day", named, named)
    served = Served(model.eval(), loaders[0].dataset, old_rows(parent.data.tokens, data.tokens), parent.config)
    loader = SessionEvalLoader(parent.config, SessionDataset(parent.config, data).build()[2])
    return evaluate(rank_all(served, loader, torch.device("cpu")))


def report(args, rows: list[dict]) -> str:
    """The nights as a Markdown table."""
    lines = [
        f"`python benchmarks/nightly.py`: {args.model} on {args.name} in days; an update is {args.epochs} epoch over "
        f"the new sessions and {args.replay:g} old ones for each. P@20 / MRR@20 on all clicks of the next day, and CPU "
        "seconds of the night.",
        "",
        f"| night | sessions so far | {' | '.join(NAMES)} | update, s | from nothing, s | with selection, s |",
        "|---:|---:|---|---|---|---:|---:|---:|",
    ]
    for row in rows:
        shown = [" / ".join(f"{100 * metrics[key]:.2f}" for key in SHOWN) for metrics in row["metrics"]]
        seconds = " | ".join(f"{row['seconds'][key]:.1f}" for key in ("update", "refit", "run"))
        lines.append(f"| {row['night']} | {row['sessions']:,} | {' | '.join(shown)} | {seconds} |")
    kept = [
        np.mean([row["metrics"][1][key] for row in rows]) / np.mean([row["metrics"][2][key] for row in rows])
        for key in SHOWN
    ]
    total = {key: sum(row["seconds"][key] for row in rows) for key in ("update", "refit", "run")}
    lines += [
        "",
        f"Updates keep {100 * kept[0]:.1f} % of P@20 and {100 * kept[1]:.1f} % of MRR@20 of training from nothing, in "
        f"{100 * total['update'] / total['refit']:.0f} % of its time where the epochs are known, and in "
        f"{100 * total['update'] / total['run']:.0f} % of the time of a run that selects them anew.",
        "",
        machine(),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
