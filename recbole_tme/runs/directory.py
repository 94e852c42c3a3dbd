"""The run directory: the contract between training and everything that reads results.

``<run_dir>/<dataset>/<model>/<utc>-s<seed>-<hash>/`` holds

=====================  ================================================================================
``config.yaml``        resolved settings; ``--config_files=`` with it repeats the run
``history.csv``        a row per epoch, counted from 1: phase, named losses, learning rate, seconds, validation
                       metrics
``checkpoint-*.pt``    everything ``--resume`` needs, as of a phase's last finished epoch
``model.safetensors``  weights of the selected epoch
``items.txt``          external item id per row of the embedding table, row 0 is padding
``catalogue.json``     each item's clicks in training, and titles where there are any
``ranks.npz``          rank of every test instance
``details.json``       cost, which items are recommended, the item table's spectrum and a few examples
``environment.json``   versions and machine
``log.txt``            what was logged
``tensorboard/``       the same curves for TensorBoard
``metrics.json``       results; written last, so that its presence says "finished"
``diagnosis.json``     what ``diagnose`` found later, with its plot beside it
``refit.json``         only where the model was trained on everything: whose metrics these are
``lineage.json``       only where ``update`` made it: see :mod:`recbole_tme.runs.lineage`
``data/``              only there too: the data set with the new sessions
=====================  ================================================================================
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import yaml

from recbole_tme.config.result_settings import result_settings
from recbole_tme.errors import UserError
from recbole_tme.schema.yamlfile import read_settings
from recbole_tme.utils.files import PARTIAL, partial_path, remove_leftovers, write_atomically, write_json, writing
from recbole_tme.utils.shapes import read_json

# The files' content, as far as something reads it; see :func:`~recbole_tme.utils.shapes.read_json`.
_NOTHING = type(None)
PROTOCOL_SHAPE = {
    **dict.fromkeys(("dataset", "data_sha256", "select_on", "fingerprint?"), str),
    **dict.fromkeys(("items", "train_instances", "valid_instances", "test_instances", "test_sessions"), int),
    "max_clicks": int,
    "retrain": bool,
}
METRICS_SHAPE = {
    "model": str,
    "dataset?": str,
    "seed": int,
    **dict.fromkeys(("epoch?", "best_epoch?"), int),
    "valid?": (_NOTHING, {str: float}),
    "test": {str: float},
    "slices": {str: {"instances": int, "metrics": {str: float}}},
    **dict.fromkeys(("tie_share?", "parameters?", "seconds?", "cpu_seconds?"), (_NOTHING, float)),
    "valid_sample?": {"instances": int, "of": int, "half_width": float},
    "epoch_seconds": float,
    "protocol": PROTOCOL_SHAPE,
    "settings?": {str: (_NOTHING, bool, float, str, list, dict)},
    "ranks_sha256?": str,
}
ENVIRONMENT_SHAPE = {"protocol": PROTOCOL_SHAPE, "command?": (_NOTHING, str)}

REPORTED_PACKAGES = ("recbole_tme", "recbole", "torch", "numpy", "pandas", "scipy", "pyarrow", "ray")


class RunDirectory:
    """One run's files, by name.

    Args:
        path: an existing directory; :meth:`create` makes a new one, :meth:`open` takes a finished or interrupted one.

    Attributes:
        path: the directory.
        named: while it is being made, the path that it will have unless another run of that second takes it.
    """

    def __init__(self, path: Path):
        self.path = self.named = Path(path)
        self.config_file = self.path / "config.yaml"
        self.history_file = self.path / "history.csv"
        self.model_file = self.path / "model.safetensors"
        self.items_file = self.path / "items.txt"
        self.catalogue_file = self.path / "catalogue.json"
        self.ranks_file = self.path / "ranks.npz"
        self.details_file = self.path / "details.json"
        self.metrics_file = self.path / "metrics.json"
        self.environment_file = self.path / "environment.json"
        self.refit_file = self.path / "refit.json"
        self.lineage_file = self.path / "lineage.json"
        self.data_dir = self.path / "data"
        self.log_file = self.path / "log.txt"
        self.tensorboard_dir = self.path / "tensorboard"

    @classmethod
    @contextlib.contextmanager
    def create(cls, root: Path, dataset: str, model: str, seed: int, config_hash: str) -> Iterator[RunDirectory]:
        """Make a new, uniquely named run directory.

        The block is given a hidden one, and writes what is known before training; then it gets its name. So a run that
        is killed leaves a directory that can be resumed, or none.

        Raises:
            UserError: ``root`` cannot be written.
        """
        parent = _folder(root, dataset, model)
        stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S")
        name = f"{stamp}-{_name(seed, config_hash)}"
        partial = partial_path(parent / name)
        run = cls(partial)
        run.named = parent / name
        try:
            with writing(parent):
                partial.mkdir(parents=True)
            remove_leftovers(parent)
            yield run
            # Runs of one second and setting (parallel trials) get a counter.
            for attempt in range(1, 10_000):
                path = parent / (name if attempt == 1 else f"{name}-{attempt}")
                # A directory is renamed onto an empty one, and there are no empty runs.
                if not path.exists() and _renamed(partial, path):
                    cls.__init__(run, path)
                    return
            raise UserError(f"{parent} holds too many runs named {name}; remove some")
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    @classmethod
    def existing(cls, root: Path, dataset: str, model: str, seed: int, config_hash: str) -> list[RunDirectory]:
        """What :meth:`create` made for the same arguments, the oldest first, finished or not."""
        found = _folder(root, dataset, model).glob(f"*-{_name(seed, config_hash)}*")
        return [cls(path) for path in sorted(found) if path.name[0] != "." and (path / "config.yaml").is_file()]

    @classmethod
    def open(cls, path: Path | str) -> RunDirectory:
        """Open an existing run directory.

        Raises:
            UserError: it does not exist or holds no ``config.yaml``.
        """
        run = cls(Path(path))
        if not run.config_file.is_file():
            raise UserError(f"{path} is not a run directory: it has no config.yaml")
        return run

    def checkpoint_file(self, phase: str) -> Path:
        """Where training phase ``phase`` keeps its state."""
        return self.path / f"checkpoint-{phase}.pt"

    def remove(self) -> None:
        """Delete the directory and all in it, and the folders it lies in where nothing else is left in them."""
        # Without its name first: of a removal that is killed, no half of a run is left.
        nameless = partial_path(self.path)
        with contextlib.suppress(OSError):
            self.path.rename(nameless)
            shutil.rmtree(nameless, ignore_errors=True)
            for folder in list(self.path.parents)[:3]:
                folder.rmdir()

    @property
    def resumable(self) -> bool:
        """Whether an epoch was finished, from which ``--resume`` can go on."""
        return any(self.path.glob("checkpoint-*.pt"))

    @property
    def finished(self) -> bool:
        """Whether the run has its results: ``metrics.json`` is written last."""
        return self.metrics_file.is_file()

    def refuse_refitted(self) -> None:
        """Refuse a model that was trained on everything, where something is to be measured or chosen.

        Raises:
            UserError: it is one.
        """
        if self.refit_file.is_file():
            raise UserError(
                f"{self.path} was trained on all sessions, the test's among them, and has no results of its own; name "
                "the run that chose its epochs (refit.json says which)"
            )

    def write_config(self, plain: Mapping) -> None:
        """Write ``config.yaml``: the resolved settings as plain data, sorted by key.

        Raises:
            UserError: the directory cannot be written.
        """
        text = yaml.safe_dump(dict(plain), sort_keys=True, allow_unicode=True)
        write_atomically(self.config_file, text.encode())

    def write_items(self, tokens: Iterable[str]) -> None:
        """Write ``items.txt``: the external item id of each internal one, the padding token first.

        Raises:
            UserError: the directory cannot be written.
        """
        write_atomically(self.items_file, ("\n".join(map(str, tokens)) + "\n").encode())

    def write_metrics(self, metrics: Mapping) -> None:
        """Write ``metrics.json``, which says that the run is finished.

        Raises:
            UserError: the directory cannot be written.
        """
        write_json(self.metrics_file, metrics)

    def write_details(self, details: Mapping) -> None:
        """Write ``details.json``; see :func:`recbole_tme.experiment.details.evaluate_test`.

        Raises:
            UserError: the directory cannot be written.
        """
        write_json(self.details_file, details)

    def read_metrics(self) -> dict:
        """The run's results.

        Raises:
            UserError: as :func:`read_result`.
        """
        return read_result(self.metrics_file)

    def read_config(self) -> dict:
        """The run's settings as plain data.

        Raises:
            UserError: the file is not YAML.
        """
        return read_settings(self.config_file).values

    def read_items(self) -> list[str]:
        """External item id by internal id, the padding token first.

        Raises:
            UserError: the file is missing or no text.
        """
        try:
            # Only "\n" ends an id: some of the characters that splitlines() knows may be part of one.
            return self.items_file.read_bytes().decode().removesuffix("\n").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{self.items_file} cannot be read ({error}); train the model again") from error

    def write_environment(self, extra: Mapping) -> None:
        """Write ``environment.json``: :func:`environment` and what the caller knows besides.

        Raises:
            UserError: the directory cannot be written.
        """
        write_json(self.environment_file, environment() | dict(extra))

    def read_environment(self) -> dict:
        """Versions, machine and protocol that the run began with.

        Raises:
            UserError: the file is missing or damaged.
        """
        return read_json(self.environment_file, ENVIRONMENT_SHAPE, "start a new run")

    def write_history(self, rows: Sequence[Mapping]) -> None:
        """Write all epochs so far; columns are the union of the rows' keys in order of appearance."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.history_file, text.getvalue().encode())


def _folder(root: Path, dataset: str, model: str) -> Path:
    # "recbole:SRGNN" would be no folder name everywhere.
    return Path(root) / dataset / model.replace(":", "-")


def _renamed(partial: Path, path: Path) -> bool:
    """Whether a folder could be given its name; another process may have taken it."""
    with writing(path):
        try:
            os.rename(partial, path)
        except OSError:
            if path.exists():
                return False
            raise
    return True


def _name(seed: int, config_hash: str) -> str:
    """The part of a run directory's name that says what was run."""
    return f"s{seed}-{config_hash}"


def read_result(file: Path) -> dict:
    """One run's ``metrics.json``, in its run directory or copied from there.

    Raises:
        UserError: the file is not one, or it is in a run directory whose configuration cannot be read.
    """
    result = read_json(file, METRICS_SHAPE, "this is not the metrics.json of a run; name one, or a run directory")
    config = file.with_name("config.yaml")
    if "settings" not in result and config.is_file():
        result["settings"] = result_settings(read_settings(config).values)
    return result


def finished_runs(paths: Iterable[Path]) -> list[RunDirectory]:
    """The runs at or below some paths, each once, those of a folder by name.

    Raises:
        UserError: a path does not exist, or holds no finished run.
    """
    runs: dict[Path, RunDirectory] = {}
    for path in paths:
        if not path.exists():
            raise UserError(f"{path} does not exist; name a run directory")
        files = [path / "metrics.json"] if (path / "config.yaml").is_file() else sorted(path.rglob("metrics.json"))
        files = [file for file in files if not file.parent.name.endswith(PARTIAL)]
        found = [
            RunDirectory(file.parent) for file in files if file.is_file() and (file.parent / "config.yaml").is_file()
        ]
        if path in (run.path for run in found):
            found[0].refuse_refitted()
        found = [run for run in found if not run.refit_file.is_file()]
        if not found:
            raise UserError(f"{path} holds no finished run (a directory with config.yaml and metrics.json)")
        runs |= {run.path.resolve(): run for run in found if run.path.resolve() not in runs}
    return list(runs.values())


def environment() -> dict:
    """Versions and machine a run was made with, as plain data."""
    versions: dict[str, str | None] = {}
    for package in REPORTED_PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "packages": versions,
    }
