"""What `run`, `compare` and `tune` show: 80 columns, per cent, epochs from 1, with a terminal and without one."""

import csv
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.screens import on_terminal

from recbole_tme.api import comparing
from recbole_tme.cli import main
from recbole_tme.comparison import progress as progress_module
from recbole_tme.comparison.progress import Progress
from recbole_tme.comparison.runs import Ended, Job
from recbole_tme.config.load import load_config
from recbole_tme.experiment.run import run
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.tuning.journal import FINISHED, STOPPED, Trial
from recbole_tme.tuning.output import ended_lines, live_lines
from recbole_tme.tuning.plan import Budget
from recbole_tme.utils import terminal

TOY = ["--dataset=toy", "--epochs=2", "--embedding_size=8", "--rank_low=3", "--rank_high=20"]
ROW = re.compile(
    r"epoch (\d)/2  loss +\d+\.\d+  MRR@20 +\d+\.\d\d( \*best|      )  P@20 +\d+\.\d\d +\d+\.\d s(  about \d+ s left)?"
)


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RECBOLE_TME_OUTPUT", raising=False)


def fit(lines, columns=80) -> None:
    assert not (wide := [line for line in lines if len(line) > columns]), wide


@pytest.mark.parametrize("watched", [True, False])
def test_a_run_has_a_row_per_epoch_a_table_its_path_and_what_to_do_next(watched, monkeypatch, capsys):
    shown = on_terminal(monkeypatch) if watched else None
    assert main(["run", "--model=TMEGNN", *TOY]) == 0
    printed = capsys.readouterr()
    lines = printed.err.splitlines() if shown is None else shown.lines
    fit([*lines, *printed.out.splitlines()])
    rows = [match for line in lines if (match := ROW.fullmatch(line))]
    assert [row[1] for row in rows] == ["1", "2"] and rows[0][3] and not rows[1][3]
    assert ("\x1b" in (shown.getvalue() if shown else printed.err)) == watched
    (path,) = Path("runs/toy/TMEGNN").iterdir()
    assert f"run directory: {path}" in printed.out.splitlines()
    metrics = RunDirectory(path).read_metrics()
    table = {words[0]: words[1:] for words in map(str.split, printed.out.splitlines()) if words}
    assert table["MRR@20"][1] == f"{100 * metrics['test']['mrr@20']:.2f}"
    assert len([name for name in table if re.fullmatch(r"\w+@\d+", name)]) == 9
    commands = [line.strip() for line in lines if line.startswith("  recbole-tme ")]
    assert any(command.startswith("recbole-tme report latest") for command in commands)
    # The first works as it is printed.
    words = re.sub(r"  .*", "", commands[0])
    assert main(shlex.split(words)[1:]) == 0 and len(capsys.readouterr().out.splitlines()) == 21


def test_the_log_and_the_history_count_from_one_and_have_all_metrics(capsys):
    assert main(["run", "--model=TMEGNN", "--retrain=True", *TOY]) == 0
    (path,) = Path("runs/toy/TMEGNN").iterdir()
    directory = RunDirectory(path)
    with directory.history_file.open() as file:
        rows = list(csv.DictReader(file))
    chosen = directory.read_metrics()["epoch"]
    assert [(row["phase"], row["epoch"]) for row in rows] == [
        *(("select", str(k)) for k in (1, 2)),
        *(("retrain", str(k)) for k in range(1, chosen + 1)),
    ]
    logged = [line for line in directory.log_file.read_text().splitlines() if "epoch 1/2" in line]
    assert len(logged) == 1 and len(re.findall(r"(?:P|MRR|NDCG)@(?:5|10|20) \d+\.\d\d", logged[0])) == 9
    assert f"{100 * float(rows[0]['valid_mrr@20']):.2f}" in logged[0]
    assert f"retrain {chosen}/{chosen}" in capsys.readouterr().err


def test_quiet_prints_results_alone_and_verbose_the_log_too(capsys):
    assert main(["run", "--quiet", "--model=SPop", "--dataset=toy"]) == 0
    printed = capsys.readouterr()
    assert not printed.err and "MRR@20" in printed.out and "run directory: " in printed.out
    assert main(["run", "--quiet", "--model=SPop", "--dataset=toy", "--topk=[1]"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert main(["run", "--verbose", "--model=SPop", "--dataset=toy"]) == 0
    assert "NDCG@10" in capsys.readouterr().err
    assert main(["run", "--quiet", "--verbose"]) == 2


@pytest.fixture
def runs_here(monkeypatch):
    """A comparison's runs are made in this process, as quietly as in one of their own."""

    def here(jobs, workers, on_epoch, on_begin):
        for job in jobs:
            on_begin(job)
            if job.row == "OwnItems":
                yield Ended(
                    job, reason="out of memory; lower train_batch_size or eval_batch_size, or run fewer at once"
                )
                continue
            with terminal.saying(quiet=True):
                found = run(job.config, on_epoch=lambda *epoch, job=job: on_epoch(job, *epoch))
            yield Ended(job, directory=found.path)

    monkeypatch.setattr(comparing, "run_here", here)


@pytest.mark.parametrize("watched", [True, False])
def test_a_comparison_says_what_finished_with_which_result(watched, runs_here, monkeypatch, capsys):
    shown = on_terminal(monkeypatch) if watched else None
    models = "SRGNN,SRGNN learning_rate=0.5 weight_decay=0.123456,SPop,OwnItems"
    assert main(["compare", f"--models={models}", "--seeds=2", *TOY[:3]]) == 1
    printed = capsys.readouterr()
    lines = printed.err.splitlines() if shown is None else shown.lines
    fit([line for line in [*lines, *printed.out.splitlines()] if "compare-" not in line])
    ended = [line for line in lines if re.match(r"\d/6  |      .*MRR@20", line)]
    assert sum("MRR@20" in line and "P@20" in line for line in ended) == 5
    assert any(re.match(r"\d/6  OwnItems, seed 2020", line) and "failed" in line for line in ended)
    assert "out of memory" in " ".join(lines) and "SRGNN, seed" not in printed.out
    results = RunDirectory(next(Path("runs/toy/SPop").iterdir())).read_metrics()["test"]
    assert any("SPop" in line and f"{100 * results['mrr@20']:.2f}" in line for line in ended)
    assert re.search(r"^MRR@20 +seeds +with 95 % interval +difference +Holm p$", printed.out, re.MULTILINE)
    assert any(line.startswith("  recbole-tme show runs/toy/") for line in lines)
    capsys.readouterr()
    assert main(["compare", "--quiet", f"--models={models}", "--seeds=2", *TOY[:3]]) == 1
    again = capsys.readouterr()
    assert "Holm p" in again.out and not again.err


def jobs(n_seeds=2, **settings) -> list[Job]:
    made = []
    for row, model in (("SRGNN", "SRGNN"), ("a long name of a model", "SPop")):
        for seed in range(n_seeds if row == "SRGNN" else 1):
            config = load_config(model, "toy", config_dict={"seed": seed, "epochs": 4} | settings)
            made.append(Job(row, config, "", Path(f"{row}-{seed}.txt")))
    return made


def shown_lines(progress) -> list[str]:
    return ["".join(p if isinstance(p, str) else p[0] for p in line) for line in progress.lines()]


def test_the_time_left_of_a_comparison_is_said_as_far_as_it_is_known(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    first, second, other = jobs()
    progress = Progress([first, second, other], [], 1)
    progress.began(first)
    now[0] = 30.0
    assert "epoch 1" in shown_lines(progress)[0] and progress.left() == ""
    progress.epoch(first, 1, 12.5)
    # Three more epochs of it and four of the other seed; nothing is known of the other model.
    assert progress.left() == "about 4 min left and 1 more model" and progress.left(certain=True) == ""
    now[0] = 60.0
    progress.epoch(first, 2, 11.5)
    line, whole = shown_lines(progress)
    assert "epoch 2/4  MRR@20 11.50 (best 12.50)" in line and whole.split("  ")[1] == "0 of 3 runs"
    fit([line, whole])


class FakeStudy(SimpleNamespace):
    """What is shown of a study, without its folder."""

    @property
    def best(self):
        return max(self.trials, key=lambda trial: trial.score or 0.0)


def study(*trials) -> FakeStudy:
    return FakeStudy(
        trials=list(trials),
        metric="MRR@20",
        plan=SimpleNamespace(budget=Budget(trials=10)),
        journal=SimpleNamespace(seconds=60.0),
    )


def text(lines) -> list[str]:
    return ["".join(piece if isinstance(piece, str) else piece[0] for piece in line) for line in lines]


def test_a_study_shows_its_trials_the_best_so_far_and_the_time_left():
    settings = {f"a_key_of_some_length_{k}": 0.12345678 for k in range(5)}

    def rows(score):
        return [{"epoch": 1, "score": 0.1}, {"epoch": 2, "score": score}]

    best = Trial(0, settings, rows(0.3492), FINISHED)
    other = Trial(1, settings, rows(0.2), STOPPED)
    found = study(best, other, Trial(2, settings, [{"epoch": 1, "score": 0.15}]), Trial(3, settings))
    said = text(ended_lines(found, best))
    assert said[0] == "trial 0    2 epochs  MRR@20 34.92 *best  about 4 min left" and "0.1235" in said[1]
    assert "stopped early" in text(ended_lines(found, other))[0]
    live = text(live_lines(found))
    assert live[0].startswith("▸ trial 2  epoch 1 done  MRR@20 15.00") and live[1].startswith("▸ trial 3  epoch 1")
    assert live[2] == "best so far  trial 0  MRR@20 34.92" and "a_key_of_some_length_0=0.1235" in live[3]
    assert "2 of 10 trials, 1 stopped early  about 4 min left" in live[-1]
    # Those at work are cut off at the terminal's edge; everything else fits it.
    fit([*said, *live[2:]])


def test_what_comes_next_is_one_command_for_a_shell(monkeypatch, capsys):
    from recbole_tme.commands.next_steps import continued, say_next

    command = "recbole-tme bundle runs/a-folder/of-some-length/and-another --out='a model' --verbose " + "word " * 10
    lines = continued(command.strip(), 60)
    fit(lines, 60)
    assert shlex.split("\n".join(lines).replace("\\\n", " ")) == shlex.split(
        command
    ) and "--out='a model'" in "\n".join(lines)
    say_next([("recbole-tme show latest", "the run"), (command, "what is long")])
    assert "  recbole-tme show latest  the run" in capsys.readouterr().err.splitlines()
