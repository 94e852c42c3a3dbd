"""Where runs are logged besides: TensorBoard always; Weights & Biases and MLflow where they are installed, offline."""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from recbole_tme.api.comparing import compare
from recbole_tme.api.running import run as public_run
from recbole_tme.cli import main
from recbole_tme.config.load import load_config
from recbole_tme.errors import UserError
from recbole_tme.experiment import trackers
from recbole_tme.experiment.run import run
from recbole_tme.runs.directory import RunDirectory

TOY = {"show_progress": False, "epochs": 2, "embedding_size": 8}


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_PROJECT", "WANDB_DIR", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)


def logged(directory: RunDirectory):
    """What TensorBoard would show of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(directory.tensorboard_dir))
    found.Reload()
    return found


def test_tensorboard_has_curves_in_per_cent_the_test_and_the_hyperparameters():
    directory = run(load_config("SRGNN", "toy", config_dict=TOY | {"retrain": True}))
    metrics, found = directory.read_metrics(), logged(directory)
    curve = found.Scalars("valid/MRR@20")
    assert [point.step for point in curve] == [1, 2]
    assert max(point.value for point in curve) == pytest.approx(100 * metrics["valid"]["mrr@20"], rel=1e-5)
    assert [point.step for point in found.Scalars("retrain/loss")] == list(range(1, metrics["epoch"] + 1))
    (point,) = found.Scalars("test/MRR@20")
    assert point.value == pytest.approx(100 * metrics["test"]["mrr@20"], rel=1e-5)
    assert "test_new/P@20" in found.Tags()["scalars"]
    assert {"_hparams_/experiment", "_hparams_/session_start_info"} <= set(found.summary_metadata)
    content = found.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"learning_rate" in content


def test_the_history_alone_is_written_where_nothing_else_is_asked_for(tmp_path):
    directory = run(load_config("SPop", "toy", config_dict={"logger": "csv", "show_progress": False}))
    assert directory.history_file.is_file() and not directory.tensorboard_dir.exists()


@pytest.mark.parametrize(
    ("given", "loggers"),
    [
        ({}, ["tensorboard", "csv"]),
        ({"log_wandb": True}, ["tensorboard", "csv", "wandb"]),
        ({"log_wandb": True, "logger": "csv"}, ["csv", "wandb"]),
        ({"logger": "tensorboard, mlflow"}, ["tensorboard", "mlflow"]),
        ({"logger": ["wandb", "wandb"], "log_wandb": False}, ["wandb"]),
    ],
)
def test_loggers_are_named_by_our_key_and_by_recboles(given, loggers):
    config, plain = load_config("SPop", "toy", config_dict=given), load_config("SPop", "toy")
    assert config["logger"] == loggers and config["log_wandb"] is False
    # Where a run is logged does not make it another run.
    assert config.hash() == plain.hash()
    again = load_config(None, None, config_dict=config.plain())
    assert again["logger"] == loggers


def test_a_logger_that_nobody_knows_is_refused():
    with pytest.raises(UserError, match=r"logger must be one of .*wandb.*did you mean mlflow"):
        load_config("SPop", "toy", config_dict={"logger": "mlflw"})


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_without_the_package_nothing_is_trained_and_the_install_line_told(name, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, name, None)
    assert main(["run", "--model=SPop", "--dataset=toy", f"--logger={name}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: logger: {name} cannot be imported") and f"[{name}]'" in line
    assert not Path("runs").exists()


class FakeWandb(SimpleNamespace):
    """Takes what Weights & Biases is told."""

    def __init__(self):
        run = SimpleNamespace(
            id="x",
            offline=True,
            dir="offline/files",
            rows=[],
            summary={},
            files=[],
            codes=[],
            define_metric=lambda *_, **__: None,
        )
        run.log = run.rows.append
        run.log_artifact = lambda artifact: run.files.extend(artifact.files)
        run.finish = lambda exit_code: run.codes.append(exit_code)

        class Artifact:
            def __init__(self, name, type):
                self.files = []

            def add_file(self, file):
                self.files.append(Path(file).name)

        super().__init__(
            run=run, begun=[], errors=SimpleNamespace(Error=RuntimeError), Artifact=Artifact, Settings=dict
        )

    def init(self, **settings):
        self.begun.append(settings)
        return self.run


def test_weights_and_biases_is_told_settings_epochs_results_and_the_report(monkeypatch):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    found = public_run("SRGNN", "toy", log_wandb=True, wandb_project="mine", **TOY)
    (begun,) = fake.begun
    assert begun["project"] == "mine" and begun["config"]["embedding_size"] == 8
    assert begun["name"] == "/".join(found.path.absolute().parts[-3:])
    assert [row["epoch"] for row in fake.run.rows] == [1, 2]
    assert fake.run.rows[-1]["valid/MRR@20"] == pytest.approx(found.history["valid MRR@20"].iloc[-1])
    assert fake.run.summary["test/MRR@20"] == pytest.approx(found.metrics["MRR@20"])
    assert "test last_click/P@20" in fake.run.summary
    assert {"report.html", "metrics.json", "history.csv", "config.yaml"} <= set(fake.run.files)
    assert fake.run.codes == [0]


def test_the_report_of_a_comparison_is_a_run_of_its_own(monkeypatch):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    config = load_config("SPop", "toy", config_dict={"logger": ["wandb"], "show_progress": False})
    run(config)
    # Its run is there already, so that no process is started.
    found = compare(["SPop"], "toy", seeds=1, logger=["wandb"], show_progress=False)
    assert fake.begun[-1]["name"].endswith(f"toy/{found.path.name}") and len(fake.begun) == 2
    assert fake.run.files[-3:] == ["report.html", "comparison.csv", "plan.json"] and fake.run.codes == [0, 0]


def test_a_run_that_fails_is_closed_as_failed(monkeypatch):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)

    def interrupt(epoch, score):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(load_config("SRGNN", "toy", config_dict=TOY | {"logger": ["wandb"]}), on_epoch=interrupt)
    assert fake.run.codes == [1] and len(fake.run.rows) == 1


def test_wandb_itself_offline(monkeypatch):
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    found = public_run("SRGNN", "toy", logger=["wandb"], **TOY)
    (file,) = found.path.glob("wandb/offline-run-*/run-*.wandb")
    wanted = (b"valid/MRR@20", b"test/MRR@20", b"embedding_size", b"report.html")
    # A process of its own writes it.
    deadline = time.monotonic() + 60
    while lacking := [word for word in wanted if word not in file.read_bytes()]:
        assert time.monotonic() < deadline, lacking
        time.sleep(0.5)


def test_mlflow_itself_in_a_folder():
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    found = public_run("SRGNN", "toy", logger=["mlflow"], **TOY)
    client = mlflow.MlflowClient(tracking_uri=Path("runs/mlruns").absolute().as_uri())
    experiment = client.get_experiment_by_name("toy")
    (one,) = client.search_runs([experiment.experiment_id])
    assert one.info.run_name.endswith(found.path.name) and one.info.status == "FINISHED"
    assert one.data.params["embedding_size"] == "8"
    assert one.data.metrics["test/MRR_20"] == pytest.approx(found.metrics["MRR@20"])
    curve = client.get_metric_history(one.info.run_id, "valid/P_20")
    assert [point.step for point in curve] == [1, 2]
    files = {file.path for file in client.list_artifacts(one.info.run_id)}
    assert {"report.html", "metrics.json", "history.csv"} <= files
    # A run that is resumed goes on where it was logged.
    directory = RunDirectory(found.path)
    directory.metrics_file.unlink()
    state = json.loads(directory.environment_file.read_text())
    assert state["protocol"]
    public_run(resume=found.path)
    (again,) = client.search_runs([experiment.experiment_id])
    assert again.info.run_id == one.info.run_id and again.info.status == "FINISHED"


def test_an_epoch_is_logged_with_its_losses_by_name():
    figures = trackers.epoch_figures(
        {
            "phase": "select",
            "epoch": 1,
            "lr": 0.1,
            "loss_a": 1.0,
            "loss_b": 2.0,
            "train_seconds": 1.0,
            "valid_hit@5": 0.5,
        }
    )
    assert figures["train/loss"] == 3.0 and figures["train/loss b"] == 2.0 and figures["valid/P@5"] == 50.0
