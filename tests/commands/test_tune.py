"""Studies without Ray: trials that never see the test set, resuming and results."""

import csv
import json
import sys
from dataclasses import replace

import pytest
import torch
import yaml
from helpers.tuner import Driver, Stop

from recbole_tme.config.load import load_config
from recbole_tme.data.loader import SessionEvalLoader
from recbole_tme.evaluation.metrics import metric_key
from recbole_tme.experiment.cluster import Resources
from recbole_tme.experiment.run import run
from recbole_tme.tuning import trial as tuning_trial
from recbole_tme.tuning.journal import FAILED, FINISHED, OPEN, STOPPED
from recbole_tme.tuning.output import LiveTable, best_text, write_results
from recbole_tme.tuning.plan import Budget, Plan
from recbole_tme.tuning.plots import write_plots
from recbole_tme.tuning.space import load_space
from recbole_tme.tuning.study import Study
from recbole_tme.tuning.trial import Assignment, TrialPlan, train_trial

TOY = {"epochs": 3, "embedding_size": 16, "rank_low": 3, "rank_high": 20, "show_progress": False}
SPACE = "learning_rate: {loguniform: [1e-4, 1e-1]}\ndropout_prob: {choice: [0.0, 0.2, 0.5]}\n"


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def new_study(tmp_path):
    def make(trials=4, space=SPACE, search="random", budget=None, **settings):
        (tmp_path / "my.yaml").write_text(space)
        config = load_config("TMEGNN", "toy", config_dict=TOY | settings)
        given = {key: config.plain()[key] for key in TOY | settings}
        plan = Plan(config.plain(), given, {}, search, "asha", 7, budget or Budget(trials=trials), Resources())
        return Study.create(tmp_path / "study", plan, load_space(config, tmp_path / "my.yaml").source)

    return make


def outcome(study: Study) -> list:
    """What must be equal for two studies to have found the same."""
    return [
        (t.number, t.status, t.settings, [(row["epoch"], row["score"], row["epoch_score"]) for row in t.rows])
        for t in study.trials
    ]


def test_a_study_trains_its_trials_and_reports_validation_alone(new_study, monkeypatch):
    loaders = []
    for name in ("__iter__", "ranked_batches"):
        original = getattr(SessionEvalLoader, name)
        seen = lambda self, original=original: loaders.append(self) or original(self)  # noqa: E731
        monkeypatch.setattr(SessionEvalLoader, name, seen)
    prepared = []
    prepare = tuning_trial.prepare_phase

    def prepare_phase(*args):
        trainer, found = prepare(*args)
        prepared.append(found)
        return trainer, found

    monkeypatch.setattr(tuning_trial, "prepare_phase", prepare_phase)
    study, driver = new_study(trials=2), Driver()
    driver(study)
    assert [trial.status for trial in study.trials] == [FINISHED] * 2 and study.done
    assert len(prepared) == 2 and len(loaders) == 6
    assert all(any(loader is valid for _, valid, _ in prepared) for loader in loaders)
    assert not any(loader is test for loader in loaders for _, _, test in prepared)
    for _, row in driver.reported:
        assert set(row) == {"epoch", "score", "epoch_score", "seconds", "last"}
    for trial in study.trials:
        with (study.folder / "trials" / f"{trial.number:04d}" / "history.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert not any("test" in key for key in rows[0])
        valid = [float(row["valid_mrr@20"]) for row in rows]
        assert [row["epoch_score"] for row in trial.rows] == valid
        assert [row["score"] for row in trial.rows] == [max(valid[: i + 1]) for i in range(3)]
        assert [row["last"] for row in trial.rows] == [False, False, True]
    assert not list(study.folder.rglob("metrics.json")) and not list(study.folder.rglob("ranks.npz"))
    assert not list(study.folder.rglob("checkpoint-*.pt"))


@pytest.mark.parametrize("at", [(0, 1), (1, 2), (1, 3), (2, 1)])
def test_a_killed_study_goes_on_and_finds_the_same(at, new_study, tmp_path):
    whole = new_study()
    stop = lambda number, row: number == 0 and row["epoch"] == 2  # noqa: E731
    Driver(stop)(whole)
    expected = outcome(whole)
    whole.journal.close()
    (tmp_path / "study").rename(tmp_path / "whole")

    broken = new_study()
    with pytest.raises(KeyboardInterrupt):
        Driver(stop, die=lambda number, row: (number, row["epoch"]) == at)(broken)
    broken.journal.close()
    # What was being written when the power went.
    with (broken.folder / "journal.jsonl").open("ab") as file:
        file.write(b'{"event": "epo')
    torch.rand(5)
    resumed, driver = Study(broken.folder), Driver(stop)
    before = [(t.number, row["epoch"]) for t in resumed.trials for row in t.rows]
    driver(resumed)
    assert resumed.done
    assert outcome(resumed) == expected
    resumed.run()
    told = [(number, row["epoch"]) for number, row in driver.reported]
    assert [pair for pair in told if pair in before] == before


@pytest.mark.slow
def test_a_trial_whose_end_was_not_noted_before_a_kill_has_finished(new_study):
    study = new_study(trials=2)
    Driver()(study)
    expected, file = outcome(study), study.folder / "journal.jsonl"
    study.journal.close()
    lines = file.read_bytes().splitlines(keepends=True)
    (end,) = [line for line in lines if b'"end", "trial": 1' in line]
    file.write_bytes(b"".join(line for line in lines if line != end))
    resumed, driver = Study(study.folder), Driver()
    assert resumed.done and outcome(resumed) == expected
    driver(resumed)
    resumed.run()
    assert driver.reported == [] and not list(study.folder.rglob("checkpoint-*.pt"))


def test_an_epoch_that_was_done_and_not_told_is_not_lost(new_study):
    study = new_study(trials=1)
    assignment = study.next("a")
    plan = TrialPlan(study.plan.settings, str(study.folder), 1)

    def killed_at_two(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt
        study.row("a", row)

    with pytest.raises(KeyboardInterrupt):
        train_trial(assignment, plan, killed_at_two)
    rows = []
    again = replace(assignment, rows=list(study.trials[0].rows))
    train_trial(again, plan, rows.append)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    direct = []
    train_trial(replace(assignment, number=9), plan, direct.append)
    assert [(r["epoch"], r["score"], r["last"]) for r in rows] == [(r["epoch"], r["score"], r["last"]) for r in direct]


def test_a_failing_trial_is_tried_twice_and_recorded_and_the_study_goes_on(new_study, monkeypatch):
    calls = []
    original = tuning_trial.train

    def train(config, folder, report):
        calls.append(config["learning_rate"])
        if config["learning_rate"] == 0.5:
            raise ValueError("this trial cannot be trained")
        original(config, folder, report)

    monkeypatch.setattr(tuning_trial, "train", train)
    study = new_study(trials=2, space="learning_rate: {choice: [0.5, 0.01]}", search="grid")
    Driver()(study)
    assert [trial.status for trial in study.trials] == [FAILED, FINISHED] and calls == [0.5, 0.5, 0.01]
    assert "this trial cannot be trained" in study.trials[0].trace and "train(" in study.trials[0].trace
    assert "Traceback" in (study.folder / "trials" / "0000" / "error.txt").read_text()
    assert study.best.number == 1
    write_results(study)
    record = json.loads((study.folder / "study.json").read_text())
    assert record["failures"] == [{"trial": 0, "reason": "ValueError: this trial cannot be trained"}]
    assert (record["trials"], record["finished"], record["failed"]) == (2, 1, 1)


def test_best_yaml_repeats_the_best_trials_score(new_study):
    study = new_study(trials=3, seed=11)
    Driver(lambda number, row: number == 1 and row["epoch"] == 1)(study)
    write_results(study)
    path = study.folder / "best.yaml"
    best = yaml.safe_load(path.read_text())
    assert set(best) == {"model", "dataset", "learning_rate", "dropout_prob", "threads", "seed", *TOY}
    directory = run(load_config(None, None, [path]))
    assert directory.read_metrics()["valid"][metric_key("MRR@20")] == study.best.score
    with (study.folder / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == [FINISHED, STOPPED, FINISHED]
    assert [float(row["score"]) for row in rows] == [trial.score for trial in study.trials]
    record = json.loads((study.folder / "study.json").read_text())
    assert record["best_score"] == study.best.score and record["stopped_early"] == 1


def test_the_best_score_wins_also_where_training_was_not_over(new_study):
    study = new_study(trials=2)
    Driver()(study)
    first, second = study.trials
    better = max(first, second, key=lambda trial: trial.score)
    for score, best in ((better.score - 1e-6, better), (better.score, better), (better.score + 1e-6, None)):
        cut = study.journal.begin(first.settings)
        study.journal.epoch(cut, {**first.rows[0], "score": score})
        assert study.best is (best or cut) and cut.status == OPEN
    assert f"trial {cut.number} of 5 (open after epoch 1).\n" in best_text(study)


def test_a_best_trial_that_was_stopped_early_is_as_good_or_better_to_the_end(new_study):
    study = new_study(trials=1)
    Driver(lambda number, row: row["epoch"] == 1)(study)
    write_results(study)
    assert study.best.status == STOPPED
    whole = run(load_config(None, None, [study.folder / "best.yaml"])).read_metrics()
    assert whole["valid"][metric_key("MRR@20")] >= study.best.score


@pytest.mark.parametrize(
    ("stopped", "cut", "said"),
    [
        ([0.004, 0.009, 0.011], 0.0, "2 of the 3 trials"),
        ([0.004, 0.011, 0.011], 0.0, None),
        ([0.011], 0.0, None),
        ([], 0.0, None),
        # A trial that the budget cut, not the scheduler, is no sign of it.
        ([0.004, 0.011], 0.004, None),
    ],
)
def test_a_search_that_stops_trials_before_they_learn_says_so(stopped, cut, said, new_study):
    study = new_study(trials=6)
    assert study.warnings == []
    settings = {"learning_rate": 0.03, "dropout_prob": 0.4}
    row = {"epoch": 1, "epoch_score": 0.0, "seconds": 1.0, "last": False}
    for score in [0.1, *stopped, *([cut] if cut else [])]:
        study.journal.epoch(study.journal.begin(settings), {**row, "score": score})
    for trial in study.trials[1 : 1 + len(stopped)]:
        study.journal.end(trial, STOPPED)
    assert [warning.split(" that were")[0] for warning in study.warnings] == ([said] if said else [])
    write_results(study)
    assert json.loads((study.folder / "study.json").read_text())["warnings"] == study.warnings


def test_a_spent_budget_of_time_leaves_trials_that_go_on_with_another(new_study):
    study = new_study(budget=Budget(seconds=1e-9))
    Driver()(study)
    assert not study.trials and not study.done
    study.journal.close()
    plan = Plan.read(study.folder)
    more = Study(study.folder, plan=Plan(**{**vars(plan), "budget": Budget(trials=2)}))
    Driver()(more)
    assert [trial.status for trial in more.trials] == [FINISHED] * 2


@pytest.mark.parametrize("factor", [1.0, 4.0])
def test_a_member_of_a_population_goes_on_from_anothers_weights(factor, new_study):
    study = new_study(trials=1)
    plan = TrialPlan(study.plan.settings, str(study.folder), 1)

    def stop_after_two(row):
        if row["epoch"] == 2:
            raise Stop

    settings = {"learning_rate": 0.01, "weight_decay": 1e-5}
    whole = []
    assignment = Assignment(0, settings)
    train_trial(replace(assignment, number=5), plan, whole.append)
    with pytest.raises(Stop):
        train_trial(assignment, plan, stop_after_two)
    rows = []
    new = Assignment(1, settings | {"learning_rate": 0.01 * factor}, donor=0, after=2)
    train_trial(new, plan, rows.append)
    assert [row["epoch"] for row in rows] == [3] and rows[0]["last"]
    assert (rows[0]["epoch_score"] == whole[2]["epoch_score"]) == (factor == 1.0)
    with (study.folder / "trials" / "0001" / "history.csv").open() as file:
        rates = [float(row["lr"]) for row in csv.DictReader(file)]
    assert rates == pytest.approx([0.01, 0.01, 0.01 * factor])


def test_gpu_hours_are_counted_by_what_the_trials_took(new_study):
    study = new_study(trials=2, budget=Budget(trials=2, gpu_hours=1.0))
    object.__setattr__(study.plan, "resources", Resources(1, 0.5))
    assert study.next("a") is not None
    row = {"epoch": 1, "score": 0.1, "epoch_score": 0.1, "last": False}
    study.row("a", row | {"seconds": 7100.0})
    assert not study.over()
    study.row("a", row | {"epoch": 2, "seconds": 7300.0})
    assert study.over()
    study.ended("a")
    assert study.trials[0].status == OPEN


def test_a_lost_worker_is_recorded(new_study):
    study = new_study(trials=1)
    study.next("a")
    study.lost("a")
    assert study.trials[0].status == FAILED and study.trials[0].lost == 1 and "killed" in study.trials[0].trace


@pytest.mark.parametrize("search", ["random", "optuna", "hyperopt"])
def test_no_settings_are_tried_twice(new_study, search):
    if search != "random":
        pytest.importorskip(search)
    space = "dropout_prob: {choice: [0.0, 0.2, 0.5]}\nn_layers: {choice: [1, 2]}\n"
    study = new_study(trials=20, space=space, search=search)
    study.slots = lambda: 20
    begun = 0
    while study.next(str(begun)) is not None:
        row = {"epoch": 1, "score": 0.1 * begun, "epoch_score": 0.1, "seconds": 1.0, "last": True}
        # The first ones end before the next begins, the others at the end.
        if begun < 3:
            study.row(str(begun), row)
        begun += 1
    tried = [(trial.settings["dropout_prob"], trial.settings["n_layers"]) for trial in study.trials]
    assert study.exhausted() and len(tried) == begun == len(set(tried)) == 6


def test_plots_and_the_live_table(new_study, capsys):
    pytest.importorskip("matplotlib")
    study = new_study(trials=6, space=SPACE + "triplet_margin: {choice: [0.1, 0.5], when: {dropout_prob: 0.0}}\n")
    for number in range(6):
        study.next(str(number))
        study.slots = lambda: 10
        row = {"epoch": 1, "score": 0.1 * number, "epoch_score": 0.1, "seconds": 1.0, "last": number != 2}
        study.row(str(number), row)
    assert write_plots(study) is None
    for name in ("history", "parallel", "importance"):
        assert (study.folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    table = LiveTable()
    table(study)
    table(study)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("trial")]
    assert len(lines) == 5 and lines[-1].startswith("trial 5    1 epoch   MRR@20 50.00 *best")


def test_no_plots_without_matplotlib(new_study, monkeypatch):
    study = new_study()
    assert "no trial" in write_plots(study)
    study.next("a")
    study.row("a", {"epoch": 1, "score": 0.1, "epoch_score": 0.1, "seconds": 1.0, "last": True})
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "[plot]" in write_plots(study)
    assert not list(study.folder.glob("*.png"))
