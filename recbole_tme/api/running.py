"""Train a model, and the finished run as an object."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from recbole_tme.api.display import html_table, percent_columns
from recbole_tme.config.load import Overrides, SessionConfig, load_config
from recbole_tme.config.resolution import on_a_cluster
from recbole_tme.errors import UserError
from recbole_tme.evaluation.summary import result_report, shown_name, shown_value
from recbole_tme.models.registry import load_plugin
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.runs.epochs import selected_epoch
from recbole_tme.runs.find import finished_run, named_run

if TYPE_CHECKING:
    import pandas as pd

    from recbole_tme.serving.recommender import Recommender

PathLike = str | Path
# How long and where a run goes on may change; what it computes may not.
CHANGEABLE_ON_RESUME = {
    *("epochs", "stopping_step", "show_progress", "data_path", "logger", "wandb_project"),
    *("device", "gpu_id", "use_gpu", "threads", "data_cache"),
}


class Run:
    """A finished run; made by :func:`run` and :func:`load_run`.

    Args:
        path: the run directory, a folder of runs (its newest finished one) or ``"latest"``.

    Attributes:
        path: the run directory.

    Raises:
        UserError: there is no finished run.
    """

    def __init__(self, path: PathLike):
        self._directory = finished_run(named_run(path))
        self.path: Path = self._directory.path
        self._result = self._directory.read_metrics()

    @property
    def model(self) -> str:
        """The model's name, as for ``run``."""
        return str(self._result["model"])

    @property
    def dataset(self) -> str:
        """The data set's name."""
        return str(self._result["dataset"])

    @property
    def seed(self) -> int:
        """The seed it was trained with."""
        return int(self._result["seed"])

    @property
    def best_epoch(self) -> int:
        """The epoch that validation chose, counted from 1; 0 for models without epochs."""
        return selected_epoch(self._result) if self._directory.history_file.is_file() else 0

    @property
    def metrics(self) -> dict[str, float]:
        """Test metrics in per cent by the name the tables use, such as ``{"P@20": 34.9, "MRR@20": 15.1}``."""
        return {shown_name(name): shown_value(name, value) for name, value in self._result["test"].items()}

    @property
    def valid_metrics(self) -> dict[str, float]:
        """Validation metrics of the selected epoch in per cent; empty for a run selected on test."""
        return {shown_name(name): shown_value(name, value) for name, value in (self._result["valid"] or {}).items()}

    @property
    def history(self) -> pd.DataFrame:
        """A row per epoch: phase, epoch (from 1), named losses, learning rate, seconds, and validation metrics in per
        cent."""
        import pandas as pd

        file = self._directory.history_file
        return percent_columns(pd.read_csv(file)) if file.is_file() else pd.DataFrame()

    @property
    def slices(self) -> pd.DataFrame:
        """A row per slice of the test instances (all, repeated and new targets, last clicks): how many instances, and
        the metrics in per cent."""
        import pandas as pd

        rows = {
            name: {"instances": part["instances"]}
            | {shown_name(metric): shown_value(metric, value) for metric, value in part["metrics"].items()}
            for name, part in self._result["slices"].items()
        }
        return pd.DataFrame.from_dict(rows, orient="index")

    @property
    def settings(self) -> dict[str, Any]:
        """All resolved settings; given to :func:`run` again they repeat the run."""
        return self._directory.read_config()

    @property
    def protocol(self) -> dict[str, Any]:
        """Data, split and rules of the evaluation, with their fingerprint."""
        return dict(self._result["protocol"])

    @property
    def command(self) -> str | None:
        """The command line that repeats the run."""
        return self._directory.read_environment().get("command")

    @cached_property
    def recommender(self) -> Recommender:
        """The trained model, ready to recommend; needs no data set."""
        from recbole_tme.serving.recommender import Recommender

        return Recommender.load(self.path)

    def recommend(self, sessions: Any, k: int = 20, **options: Any) -> pd.DataFrame:
        """The ``k`` best items for each session; see :meth:`~recbole_tme.serving.recommender.Recommender.recommend`.

        Raises:
            UserError: as there.
        """
        return self.recommender.recommend(sessions, k, **options)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {self.metrics[name]:.2f}" for name in _headline(self.metrics))
        return f"<Run of {self.model} on {self.dataset}, seed {self.seed}: {shown}; {self.path}>"

    def __str__(self) -> str:
        return f"{result_report(self._result)}\nrun directory: {self.path}"

    def _repr_html_(self) -> str:
        caption = f"{self.model} on {self.dataset}, seed {self.seed}, epoch {self.best_epoch}; {self.path}"
        return html_table(self.slices, caption)


def run(
    model: str | type | None = None,
    dataset: str | None = None,
    *,
    config_files: Sequence[PathLike] | PathLike = (),
    plugin: Sequence[PathLike] | PathLike = (),
    resume: PathLike | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
    ray_address: str | None = None,
    **settings: Any,
) -> Run:
    """Train a model, select its epoch on validation, evaluate it once on test, and leave a run directory.

    Args:
        model: a name such as ``"TMEGNN"``, ``"recbole:SRGNN"`` or ``"ATSRec+SASRec"``, or a class; default TMEGNN.
        dataset: the data set's name; default ``ml100k-sessions``, which every install has.
        config_files: YAML files of settings, later ones win.
        plugin: files that define further models.
        resume: a run directory to continue; no other settings than those of :data:`CHANGEABLE_ON_RESUME` then.
        on_epoch: called as ``on_epoch(epoch, valid_score)`` after each epoch, with the epoch counted from 1 and the
            validation metric in per cent.
        ray_address: spread the ``nproc`` processes over a Ray cluster: ``auto`` or ``HOST:PORT``.
        **settings: any configuration keys; ``list_keys(model)`` explains them.

    Raises:
        UserError: an unknown key or impossible value, bad data, a diverged training, or a folder that cannot be
            written.

    Example:
        >>> recbole_tme.run("TMEGNN", "tmall", epochs=3).metrics["MRR@20"]  # doctest: +SKIP
    """
    load_plugins(plugin)
    directory, _ = train(model, dataset, paths(config_files), resume, settings, on_epoch, ray_address)
    return Run(directory.path)


def train(
    model: str | type | None,
    dataset: str | None,
    config_files: Sequence[Path],
    resume: PathLike | None,
    settings: Mapping[str, Any],
    on_epoch: Callable[[int, float], None] | None = None,
    ray_address: str | None = None,
) -> tuple[RunDirectory, bool]:
    """The work of :func:`run`; returns the run directory, and whether the run was finished already.

    Raises:
        UserError: as there.
    """
    from recbole_tme.experiment.run import run as train_and_test

    if ray_address is not None and on_epoch is not None:
        raise UserError("--ray-address: processes of a cluster cannot report their epochs; leave on_epoch out")
    directory = None
    with nullcontext() if ray_address is None else on_a_cluster():
        if resume is None:
            config = load_config(model, dataset, config_files, overrides=overrides(settings))
        else:
            config, directory = resumed(resume, model, dataset, config_files, settings)
    if directory is not None and directory.finished:
        return directory, True
    if ray_address is None:
        return train_and_test(config, directory, on_epoch, report_for(config)), False
    from recbole_tme.experiment.cluster_training import train_on_cluster

    return train_on_cluster(config, ray_address, directory), False


def report_for(config: SessionConfig) -> Callable[[RunDirectory], list[Path]] | None:
    """What makes the report that goes to the trackers of a run; None where none of them keeps files."""
    from recbole_tme.experiment.trackers import KEEPING_FILES

    return report_on if set(KEEPING_FILES) & set(config["logger"]) else None


def report_on(directory: RunDirectory) -> list[Path]:
    """Write a run's report into its directory; returns the page and the table."""
    from recbole_tme.report.comparison import write_report

    folder = directory.path / "report"
    write_report([directory.path], folder)
    return [folder / "report.html", folder / "comparison.csv"]


def resumed(
    resume: PathLike, model: object, dataset: object, config_files: object, settings: Mapping[str, Any]
) -> tuple[SessionConfig, RunDirectory]:
    """The configuration and the directory of a run to continue.

    Raises:
        UserError: it is not a run directory, or something is given that a run brings itself.
    """
    if model or dataset or config_files:
        raise UserError("--resume takes the model, the data set and all settings from the run; leave the others out")
    directory = RunDirectory.open(named_run(resume, finished=False))
    fixed = sorted(settings.keys() - CHANGEABLE_ON_RESUME)
    if fixed:
        raise UserError(
            f"--{fixed[0]} cannot change when a run is resumed (only {', '.join(sorted(CHANGEABLE_ON_RESUME))} can); "
            f"start a new run with --config_files={directory.config_file}"
        )
    return load_config(None, None, [directory.config_file], overrides=overrides(settings)), directory


def refit(path: PathLike = "latest", *, plugin: Sequence[PathLike] | PathLike = (), **settings: Any) -> Run:
    """Train a finished run's model once more, on train + validation + test, for production.

    Args:
        path: the run's directory, a folder of runs (the newest finished one), or ``"latest"``.
        plugin: files that define the run's model, where they are not loaded yet.
        **settings: of this machine, such as ``device``.

    Returns:
        The new run, whose metrics are those of the run that chose the epochs.

    Raises:
        UserError: there is no finished run, or its data set has changed.
    """
    from recbole_tme.experiment.refit import refit as train_on_everything

    load_plugins(plugin)
    return Run(train_on_everything(named_run(path), overrides(settings)).path)


def load_run(path: PathLike = "latest", *, plugin: Sequence[PathLike] | PathLike = ()) -> Run:
    """A finished run.

    Args:
        path: its directory, a folder of runs (the newest finished one), or ``"latest"``.
        plugin: files that define its model. A run that names one by itself does not make its code run.

    Raises:
        UserError: there is none, or a plug-in file is missing or fails.
    """
    load_plugins(plugin)
    return Run(path)


def load_plugins(plugin: Sequence[PathLike] | PathLike) -> list[str]:
    """Load files that define models; returns the models' names.

    Raises:
        UserError: a file is missing, or its code fails.
    """
    return [name for file in paths(plugin) for name in load_plugin(file)]


def paths(given: Sequence[PathLike] | PathLike) -> list[Path]:
    """One path or several, as a list."""
    return [Path(one) for one in ([given] if isinstance(given, (str, Path)) else given)]


def overrides(settings: Mapping[str, Any]) -> Overrides:
    """Settings with the precedence of a command line, paths as text; such as came from one keep what was typed."""
    if isinstance(settings, Overrides):
        return settings
    made = Overrides()
    made.update({key: str(value) if isinstance(value, PurePath) else value for key, value in settings.items()})
    return made


def _headline(metrics: Mapping[str, float]) -> list[str]:
    wanted = [name for name in ("P@20", "MRR@20") if name in metrics]
    return wanted or list(metrics)[:2]
