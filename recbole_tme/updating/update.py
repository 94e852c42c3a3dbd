"""A run's model carried over to a newer log: new sessions appended, new items given vectors, a few epochs, a test."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from recbole_tme.config.load import SessionConfig
from recbole_tme.config.resolution import split_metrics
from recbole_tme.data.catalogue import NamedSessions
from recbole_tme.data.loader import SessionEvalLoader, SessionTrainLoader, negative_sampler
from recbole_tme.data.readers.atomic import write_dataset
from recbole_tme.data.record import Record
from recbole_tme.data.split import last_clicks, validation_cut
from recbole_tme.errors import UserError
from recbole_tme.evaluation.metrics import slices
from recbole_tme.evaluation.protocol import Protocol
from recbole_tme.evaluation.ranks import Ranks, rank_all
from recbole_tme.experiment.details import evaluate_test
from recbole_tme.experiment.loading import build_model
from recbole_tme.experiment.run import prepare_phase, write_outcome
from recbole_tme.experiment.surroundings import blaming_plugin, deterministic, refusing_nan, tell, working_in
from recbole_tme.runs.checkpoint import restore_model
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.runs.epochs import selected_epoch
from recbole_tme.runs.itemlist import ItemList
from recbole_tme.updating.carry import Carried, NewItems, carry_over, old_rows
from recbole_tme.updating.growth import Growth, grow
from recbole_tme.updating.lineage import PROMOTE, ancestry, move_link, verdict
from recbole_tme.updating.newlog import read_new_log
from recbole_tme.updating.parent import Parent, read_parent
from recbole_tme.updating.served import Served
from recbole_tme.utils.files import write_json
from recbole_tme.utils.hardware import keep_freed_memory


@dataclass(frozen=True)
class UpdateOptions:
    """How a model is updated.

    Attributes:
        epochs: over the new sessions and the sample of old ones.
        learning_rate: of these epochs; None for the run's own.
        replay: old sessions drawn for each new one; 0 for none.
        holdout: the latest share of the new sessions, on which both models are measured; the next update trains on it.
        forget_after: days before the last click after which an old session is dropped, with items clicked in no other.
        min_support: fewest clicks of a new item.
        promote: ``if-better`` unless the new model is worse by a paired test, ``always`` or ``never``.

    Raises:
        UserError: a value is impossible.
    """

    epochs: int = 1
    learning_rate: float | None = None
    replay: float = 0.1
    holdout: float = 0.1
    forget_after: float | None = None
    min_support: int = 1
    promote: str = "if-better"

    def __post_init__(self) -> None:
        for key, holds, wanted in (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("learning_rate", self.learning_rate is None or 0 < self.learning_rate <= 100, "above 0, at most 100"),
            ("replay", 0 <= self.replay < float("inf"), "at least 0"),
            ("holdout", 0 < self.holdout < 1, "above 0 and below 1"),
            ("forget_after", self.forget_after is None or self.forget_after > 0, "above 0 days"),
            ("min_support", self.min_support >= 1, "at least 1"),
            ("promote", self.promote in PROMOTE, f"one of {', '.join(PROMOTE)}"),
        ):
            if not holds:
                raise UserError(f"{key}={getattr(self, key)} must be {wanted}")


class Trained(NamedTuple):
    """A model after its epochs, on the same sessions as the one before."""

    ranks: Ranks
    loader: SessionEvalLoader
    details: dict[str, Any]
    model: torch.nn.Module
    epoch_seconds: float
    n_sessions: int
    carried: Carried


def update(
    path: Path | str,
    logs: Sequence[Path | str],
    reading: Mapping[str, Any] | None = None,
    options: UpdateOptions | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> RunDirectory:
    """Carry a finished run's model over to the sessions that ended since.

    The new run directory holds the grown data set, too, and appears whole or not at all; whatever is killed before
    leaves the old run as it was. Where ``path`` is a symbolic link, a promotion makes it lead to the new run.

    Args:
        path: a finished run's directory, or a link to one.
        logs: files of a click log; sessions that the run's data set holds already are skipped.
        reading: how the log is read, where it is not as the data set was prepared; see :func:`read_new_log`.
        options: how to update.
        overrides: settings of this machine.

    Returns:
        The new run; ``lineage.json`` in it says how both models did, and whether it is promoted.

    Raises:
        UserError: there is no finished run, its data set has changed, or the log is not well formed, older than the
            data set or of another catalogue.
    """
    started, options = time.perf_counter(), options or UpdateOptions()
    parent = read_parent(path, overrides)
    lineage = ancestry(parent)
    if parent.config["threads"]:
        torch.set_num_threads(parent.config["threads"])
    record = Record()
    new = read_new_log(logs, reading, parent, record)
    growth = grow(
        parent.whole,
        len(parent.data.train),
        NamedSessions(new.sessions, new.tokens),
        new.content,
        record,
        holdout=options.holdout,
        forget_after=options.forget_after,
        min_support=options.min_support,
    )
    keep_freed_memory()
    seed, label = parent.config["seed"], f"update-{parent.config.hash()}-{uuid.uuid4().hex[:6]}"
    root = _beside(parent) if "run_dir" not in (overrides or {}) else Path(parent.config["run_dir"])
    created = RunDirectory.create(root, parent.config["dataset"], parent.config.registered_name, seed, label)
    with created as directory:
        config = parent.config.replaced(
            retrain=True, select_on="valid", data_path=str(directory.named.absolute() / "data")
        )
        with working_in(directory), deterministic(config["reproducibility"]), blaming_plugin(directory, config, True):
            write_dataset(directory.data_dir, growth.data, new.provenance | {"record": record.as_json()})
            lineage |= {
                "log": {"files": new.provenance["sources"], **record.as_json()},
                "until": _date(last_clicks(new.sessions).max()),
                "settings": asdict(options),
            }
            _train_and_write(parent, config, growth, options, directory, lineage, started)
    if lineage["promoted"] and Path(path).is_symlink():
        move_link(Path(path), directory.path)
    return directory


def _beside(parent: Parent) -> Path:
    """The folder of runs that the parent lies in, whatever folder the command is given in."""
    path = parent.directory.path.resolve()
    root = Path(parent.config["run_dir"])
    named = (path.parents[1].name, path.parents[0].name)
    expected = (parent.config["dataset"], parent.config.registered_name.replace(":", "-"))
    return path.parents[2] if named == expected else root


def _train_and_write(
    parent: Parent,
    config: SessionConfig,
    growth: Growth,
    options: UpdateOptions,
    directory: RunDirectory,
    lineage: dict[str, Any],
    started: float,
) -> None:
    data, cpu_started = growth.data, time.process_time()
    protocol = Protocol.of(config, validation_cut(data, config["valid_ratio"]))
    directory.write_config(config.plain())
    directory.write_items(data.tokens)
    clicks = np.bincount(data.train.items, minlength=len(data.tokens))[1:]
    ItemList([str(token) for token in data.tokens[1:]], clicks, data.titles).write(directory.catalogue_file)
    directory.write_environment(
        {"device": str(config["device"]), "threads": torch.get_num_threads(), "protocol": protocol.plain()}
    )
    rows = old_rows(parent.data.tokens, data.tokens)
    trained = _train(parent, config, growth, options, directory, rows, protocol)
    with refusing_nan():
        before = _before(parent, rows, trained.loader)
    write_outcome(directory, trained.ranks, trained.model)
    directory.write_details(trained.details)
    metrics, _ = split_metrics(config["metrics"])
    judged = verdict(before, trained.ranks, config["valid_metric"], config["topk"], metrics, options.promote)
    lineage |= {
        "sessions": {
            "old": growth.old_sessions,
            "new": growth.new_sessions,
            "forgotten": growth.forgotten_sessions,
            "held_out": len(data.test),
            "trained_on": trained.n_sessions,
        },
        "items": trained.carried._asdict() | {"forgotten": len(parent.data.tokens) - 1 - int((rows > 0).sum())},
        **judged,
        "seconds": round(time.perf_counter() - started, 1),
    }
    write_json(directory.lineage_file, lineage)
    directory.write_metrics(
        {
            "model": config.registered_name,
            "dataset": config["dataset"],
            "seed": config["seed"],
            # Of the training from nothing, for a refit.
            "epoch": selected_epoch(parent.directory.read_metrics()),
            "valid": None,
            "test": judged["after"],
            "slices": slices(trained.ranks, config["topk"], metrics),
            "tie_share": trained.ranks.tie_share,
            "parameters": sum(parameter.numel() for parameter in trained.model.parameters()),
            "epoch_seconds": trained.epoch_seconds,
            "protocol": protocol.plain(),
            "seconds": lineage["seconds"],
            "cpu_seconds": round(time.process_time() - cpu_started, 1),
        }
    )
    tell(report(lineage))


def _train(
    parent: Parent,
    config: SessionConfig,
    growth: Growth,
    options: UpdateOptions,
    directory: RunDirectory,
    rows: np.ndarray,
    protocol: Protocol,
) -> Trained:
    rate = options.learning_rate or config["learning_rate"]
    config = config.replaced(epochs=options.epochs, learning_rate=rate, lr_schedule="none")
    trainer, loaders = prepare_phase(config, growth.data, directory, "update")
    new_items = NewItems(rows, growth.data.train)
    carry_over(trainer.model, parent.weights, new_items, len(parent.data.tokens))
    chosen = _chosen(growth.is_fresh, options.replay, config["seed"])
    dataset = loaders[0].dataset
    table = dataset.inter_feat.chosen(torch.from_numpy(chosen)[dataset.inter_feat.session.long()])
    if not len(table):
        raise UserError("the new sessions have no click to learn from; lower holdout or raise replay")
    some = dataset.copy(table)
    batches = SessionTrainLoader(config, some, negative_sampler(config, some))
    # Without a checkpoint, as an update that was killed begins again.
    trainer.fit(batches, saved=False, show_progress=config["show_progress"])
    directory.write_history(trainer.history)
    with refusing_nan():
        ranks, details = evaluate_test(config, growth.data, trainer.model, loaders[2], protocol)
    seconds = float(np.median([row["train_seconds"] for row in trainer.history]))
    return Trained(ranks, loaders[2], details, trainer.model, seconds, int(chosen.sum()), new_items.carried)


def _chosen(is_fresh: np.ndarray, replay: float, seed: int) -> np.ndarray:
    """The training sessions that the epochs go over, bool ``[n_train]``: all fresh ones and a sample of the others."""
    chosen, others = is_fresh.copy(), np.flatnonzero(~is_fresh)
    n = min(len(others), round(replay * np.count_nonzero(is_fresh)))
    chosen[np.random.default_rng(seed).choice(others, n, replace=False)] = True
    return chosen


def _before(parent: Parent, rows: np.ndarray, loader: SessionEvalLoader) -> Ranks:
    """How the old model, as it is served, ranks the sessions that are held out."""
    config = parent.config
    model, loaders = build_model(config, parent.data)
    restore_model(model, {"state_dict": parent.weights}, parent.directory.model_file)
    served = Served(model.eval(), loaders[0].dataset, rows, config)
    return rank_all(served, loader, config["device"], config["show_progress"])


def report(lineage: Mapping[str, Any]) -> str:
    """An update in words, two lines."""
    sessions, items, metric = lineage["sessions"], lineage["items"], lineage["metric"]
    done = "promoted" if lineage["promoted"] else "not promoted"
    return (
        f"{sessions['new']:,} new sessions until {lineage['until']}, trained on {sessions['trained_on']:,} with a "
        f"sample of old ones; {items['kept']:,} items kept, {items['from_neighbours'] + items['from_mean']:,} new, "
        f"{items['forgotten']:,} forgotten\n"
        f"{metric} on the latest {sessions['held_out']:,} sessions: {100 * lineage['before'][metric]:.2f} before, "
        f"{100 * lineage['after'][metric]:.2f} after (difference {100 * lineage['difference']:+.2f}, 95 % interval "
        f"{100 * lineage['low']:+.2f} to {100 * lineage['high']:+.2f}, p {lineage['p']:.3g}): {done}"
    )


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
