"""Where a run is logged besides its own directory: TensorBoard, Weights & Biases, MLflow.

The key ``logger`` names them. Each is told the settings, the losses and validation metrics of each epoch, the test
metrics with their slices, and given the run's tables and report as files. Metrics are in per cent, epochs counted
from 1. A resumed run goes on where its earlier part was logged.

Weights & Biases and MLflow are imported where they are asked for only; each reads its own environment variables
(``WANDB_MODE=offline``, ``MLFLOW_TRACKING_URI``, ...).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recbole_tme.config.load import SessionConfig
from recbole_tme.errors import UserError, first_line
from recbole_tme.evaluation.summary import shown_name, shown_value
from recbole_tme.experiment.epochs import losses, total_loss, valid_metrics
from recbole_tme.nn import distributed
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.utils import terminal
from recbole_tme.utils.installing import install_extra

# history.csv is written by every run; named alone it says that nothing else is.
TENSORBOARD, WANDB, MLFLOW, CSV = "tensorboard", "wandb", "mlflow", "csv"
# Those that keep files and are looked at elsewhere.
KEEPING_FILES = (WANDB, MLFLOW)
# What MLflow takes in one request.
MLFLOW_BATCH = 100
MLFLOW_LONGEST = 500


class Tracker:
    """A place that a run is logged to; every method may be left as it is."""

    def epoch(self, number: int, figures: Mapping[str, float]) -> None:
        """Figures of an epoch, counted from 1, by name such as ``valid/MRR@20``."""

    def result(self, figures: Mapping[str, float]) -> None:
        """The figures of the test, by name such as ``test/MRR@20``."""

    def keep(self, files: Sequence[Path]) -> None:
        """Files that belong to the run."""

    def close(self, failed: bool) -> None:
        """The run is over."""


class Trackers:
    """All the places that a run is logged to; none without arguments."""

    def __init__(self, trackers: Sequence[Tracker] = ()):
        self._trackers = list(trackers)

    def epoch(self, row: Mapping[str, Any]) -> None:
        """A row of the history."""
        figures = epoch_figures(row)
        for tracker in self._trackers:
            tracker.epoch(row["epoch"], figures)

    def result(self, metrics: Mapping[str, Any]) -> None:
        """The content of ``metrics.json``."""
        figures = result_figures(metrics)
        for tracker in self._trackers:
            tracker.result(figures)

    def keep(self, files: Sequence[Path]) -> None:
        """Files that belong to the run; those that do not exist are left out."""
        there = [file for file in files if file.is_file()]
        for tracker in self._trackers:
            tracker.keep(there)

    def close(self, failed: bool = False) -> None:
        for tracker in self._trackers:
            tracker.close(failed)


def check_loggers(config: SessionConfig) -> None:
    """Refuse trackers that are not installed, before anything is trained.

    Raises:
        UserError: names the package and the line that installs it.
    """
    for name in config["logger"] or ():
        if name in KEEPING_FILES:
            _imported(name)


@contextmanager
def tracking(config: SessionConfig, directory: RunDirectory) -> Iterator[Trackers]:
    """What the settings name, told that the run ended when the block does; in the main process.

    Raises:
        UserError: one is not installed or refuses the run.
    """
    made = Trackers()
    if distributed.is_main():
        made = opened(config["logger"] or (), config, directory.path, directory.tensorboard_dir)
    try:
        yield made
    except BaseException:
        # What stopped the run is what is to be said.
        with contextlib.suppress(Exception):
            made.close(failed=True)
        raise
    made.close()


def opened(names: Sequence[str], config: SessionConfig, path: Path, events: Path) -> Trackers:
    """Trackers by name, told the settings.

    Args:
        names: some of the words of the key ``logger``.
        config: the settings.
        path: the folder whose name the run has there.
        events: folder of TensorBoard's files.

    Raises:
        UserError: one is not installed or refuses the run.
    """
    settings, name = config.plain(), "/".join(path.absolute().parts[-3:])
    made: list[Tracker] = []
    if TENSORBOARD in names:
        made.append(TensorBoard(settings, events))
    if WANDB in names:
        made.append(WeightsAndBiases(settings, name, path))
    if MLFLOW in names:
        made.append(MLflow(settings, name))
    return Trackers(made)


def epoch_figures(row: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a row of the history, by the name they are logged under."""
    phase = "train" if row["phase"] == "select" else row["phase"]
    found = {f"{phase}/loss": total_loss(row), f"{phase}/learning rate": row["lr"]}
    if len(named := losses(row)) > 1:
        found |= {f"{phase}/loss {name}": value for name, value in named.items()}
    found[f"{phase}/seconds"] = row["train_seconds"]
    if "valid_seconds" in row:
        found["valid/seconds"] = row["valid_seconds"]
    return found | {f"valid/{shown_name(name)}": shown_value(name, value) for name, value in valid_metrics(row).items()}


def result_figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The test's figures in per cent and what the run cost, by the name they are logged under."""
    found = {f"test/{shown_name(name)}": shown_value(name, value) for name, value in metrics["test"].items()}
    for part, one in metrics["slices"].items():
        if part != "all":
            found |= {
                f"test {part}/{shown_name(name)}": shown_value(name, value) for name, value in one["metrics"].items()
            }
    costs = ("parameters", "epoch_seconds", "seconds")
    return found | {f"cost/{name.replace('_', ' ')}": float(metrics[name]) for name in costs if metrics.get(name)}


class TensorBoard(Tracker):
    """Event files for TensorBoard: curves, and the settings beside the test metrics on its page HPARAMS."""

    def __init__(self, settings: Mapping[str, Any], events: Path):
        from torch.utils.tensorboard import SummaryWriter

        self._settings = settings
        self._writer = SummaryWriter(str(events))

    def epoch(self, number: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name.replace(" ", "_"), value, number)
        self._writer.flush()

    def result(self, figures: Mapping[str, float]) -> None:
        from torch.utils.tensorboard.summary import hparams

        named = {name.replace(" ", "_"): value for name, value in figures.items()}
        for name, value in named.items():
            self._writer.add_scalar(name, value, 0)
        plain = {key: v if isinstance(v, (bool, int, float, str)) else str(v) for key, v in self._settings.items()}
        # SummaryWriter.add_hparams would write a further folder beside the curves.
        writer: Any = self._writer.file_writer
        for summary in hparams(plain, named):
            writer.add_summary(summary)

    def close(self, failed: bool) -> None:
        self._writer.close()


class WeightsAndBiases(Tracker):
    """A run on Weights & Biases, or on disk with ``WANDB_MODE=offline``; RecBole's ``wandb_project`` is its project."""

    def __init__(self, settings: Mapping[str, Any], name: str, path: Path):
        self._wandb = _imported(WANDB)
        # The same for a run that is resumed.
        identity = hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:16]
        try:
            self._run = self._wandb.init(
                project=os.environ.get("WANDB_PROJECT") or settings["wandb_project"],
                name=name,
                id=identity,
                resume="allow",
                config=dict(settings),
                dir=os.environ.get("WANDB_DIR") or str(path),
                settings=self._wandb.Settings(silent=True, console="off"),
            )
        except self._wandb.errors.Error as error:
            reason = first_line(error)
            raise UserError(
                f"logger: wandb refuses the run ({reason}); run wandb login, or set WANDB_MODE=offline"
            ) from error
        self._run.define_metric("epoch")
        self._run.define_metric("*", step_metric="epoch")
        if self._run.offline:
            folder = os.path.relpath(Path(self._run.dir).parent)
            terminal.note(f"logged to Weights & Biases on this disk; to send it: wandb sync {folder}")
        else:
            terminal.note(f"logged to Weights & Biases: {self._run.url}")

    def epoch(self, number: int, figures: Mapping[str, float]) -> None:
        self._run.log({"epoch": number, **figures})

    def result(self, figures: Mapping[str, float]) -> None:
        self._run.summary.update(dict(figures))

    def keep(self, files: Sequence[Path]) -> None:
        artifact = self._wandb.Artifact(f"run-{self._run.id}", type="run")
        for file in files:
            artifact.add_file(str(file))
        self._run.log_artifact(artifact)

    def close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


class MLflow(Tracker):
    """A run in MLflow: at ``MLFLOW_TRACKING_URI``, else in the folder ``mlruns`` of the folder of runs.

    Its experiment is the data set, unless ``MLFLOW_EXPERIMENT_NAME`` says otherwise.
    """

    def __init__(self, settings: Mapping[str, Any], name: str):
        self._mlflow = _imported(MLFLOW)
        uri = os.environ.get("MLFLOW_TRACKING_URI") or (Path(settings["run_dir"]).absolute() / "mlruns").as_uri()
        if uri.startswith("file:"):
            # Newer versions want to be told that plain files are meant.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        try:
            self._client = self._mlflow.MlflowClient(tracking_uri=uri)
            experiment = self._experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME") or settings["dataset"])
            quote = '"' if "'" in name else "'"
            found = self._client.search_runs([experiment], filter_string=f"attributes.run_name = {quote}{name}{quote}")
            if found:
                self._id = found[0].info.run_id
                self._client.set_terminated(self._id, "RUNNING")
            else:
                self._id = self._client.create_run(experiment, run_name=name).info.run_id
                self._write(params=[(key, str(value)[:MLFLOW_LONGEST]) for key, value in settings.items()])
        except self._mlflow.exceptions.MlflowException as error:
            reason = first_line(error)
            raise UserError(f"logger: mlflow refuses the run ({reason}); see MLFLOW_TRACKING_URI") from error
        terminal.note(f"logged to MLflow: {uri}")

    def epoch(self, number: int, figures: Mapping[str, float]) -> None:
        self._write(figures=[(name, value, number) for name, value in figures.items()])

    def result(self, figures: Mapping[str, float]) -> None:
        self._write(figures=[(name, value, 0) for name, value in figures.items()])

    def keep(self, files: Sequence[Path]) -> None:
        for file in files:
            self._client.log_artifact(self._id, str(file))

    def close(self, failed: bool) -> None:
        self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED")

    def _experiment(self, name: str) -> str:
        known = self._client.get_experiment_by_name(name)
        return known.experiment_id if known is not None else self._client.create_experiment(name)

    def _write(self, params: Sequence[tuple[str, str]] = (), figures: Sequence[tuple[str, float, int]] = ()) -> None:
        import time

        kinds, now = self._mlflow.entities, int(1000 * time.time())
        for start in range(0, len(params), MLFLOW_BATCH):
            part = [kinds.Param(key, value) for key, value in params[start : start + MLFLOW_BATCH]]
            self._client.log_batch(self._id, params=part)
        # MLflow's names have no @.
        metrics = [kinds.Metric(name.replace("@", "_"), value, now, step) for name, value, step in figures]
        if metrics:
            self._client.log_batch(self._id, metrics=metrics)


def _imported(name: str) -> Any:
    """The package of a tracker.

    Raises:
        UserError: it cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"logger: {name} cannot be imported ({error}); run: {install_extra(name)}") from error
