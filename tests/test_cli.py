"""The command line: one program under three names, and one clear line for bad input."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import recbole_tme
from recbole_tme.cli import COMMANDS, main

ROOT = Path(__file__).parents[1]
QUICK = ["--dataset=toy", "--epochs=1", "--show_progress=False", "--embedding_size=16"]


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def program(*command, cwd):
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )


def error_line(argv, capsys) -> str:
    """The one line a bad command line gets; it exits with 2 and leaves nothing behind."""
    assert main(argv) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert not list(Path("runs").rglob("metrics.json"))
    return lines[0]


@pytest.mark.parametrize("name", [["-m", "recbole_tme"], [str(ROOT / "run_recbole_tme.py")]])
def test_program_runs_and_reports(name, tmp_path):
    done = program(*name, *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "P@20" in done.stdout and list(tmp_path.glob("runs/toy/TMEGNN/*/metrics.json"))


def test_bad_input_exits_2_without_a_traceback(tmp_path):
    done = program("-m", "recbole_tme", "--model=TMEGN", "--dataset=toy", cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "TMEGNN" in done.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_console_script_is_declared():
    tomllib = pytest.importorskip("tomllib", reason="reading pyproject.toml needs Python 3.11")
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts["recbole-tme"] == "recbole_tme.cli:main"


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["--model=TMEGN"], "TMEGNN"),
        (["--model=tmegnn"], "TMEGNN"),
        (["--model=recbole:SRGN"], "SRGNN"),
        (["--dataset=tmal"], "tmall"),
        (["--lerning_rate=5"], "learning_rate"),
        (["--learning_rate=-1"], "learning_rate"),
        (["--learning_rate=abc"], "learning_rate"),
        (["--learning_rate=.nan"], "learning_rate"),
        (["--train_batch_size=0"], "train_batch_size"),
        (["--train_batch_size=64.5"], "train_batch_size"),
        (["--epochs=0"], "epochs"),
        (["--embedding_size=0"], "embedding_size"),
        (["--dropout_prob=1.5"], "dropout_prob"),
        (["--topk=ten"], "topk"),
        (["--topk=[0]"], "topk"),
        (["--topk=[5, 10, 20, 100000]"], "100000"),
        (["--metrics=[Recal]"], "Recall"),
        (["--valid_metric=MRR@50"], "valid_metric"),
        (["--valid_metric=MMR@20"], "MRR"),
        (["--learner=adamm"], "adam"),
        (["--clip_grad_norm=-5"], "clip_grad_norm"),
        (["--seed=abc"], "seed"),
        (["--reproducibility=perhaps"], "reproducibility"),
        (["--lr_schedule=stepp"], "lr_schedule"),
        (["--select_on=train"], "select_on"),
        (["--rank_low=-1"], "rank_low"),
        (["--config_files=missing.yaml"], "missing.yaml"),
        (["--plugin=missing.py"], "missing.py"),
        (["--resume=missing"], "missing"),
        (["stray"], "stray"),
        (["--epochs=1", "--epochs=2"], "epochs"),
        (["--device=cuda:99"], "device"),
        (["--foo=__import__('os').system('touch hacked')"], "foo"),
    ],
)
def test_each_bad_option_gets_one_line_that_names_it(argv, named, capsys):
    assert named in error_line(
        argv if argv[0].startswith(("--dataset", "--resume")) else ["--dataset=toy", *argv], capsys
    )
    assert not Path("hacked").exists() and not Path("runs").exists()


def test_values_with_equals_signs_and_separate_values(capsys):
    assert (
        main([*QUICK[:1], "--epochs", "1", "--show_progress", "False", "--embedding_size", "16", "--run_dir=a=b"]) == 0
    )
    assert list(Path("a=b").glob("toy/TMEGNN/*/metrics.json"))


HEADER = b"session_id:token\titem_id:token\ttimestamp:float\n"
GOOD = HEADER + b"s1\ta\t1\ns1\tb\t2\ns2\tb\t3\ns2\ta\t4\n"


@pytest.mark.parametrize(
    ("train", "named"),
    [
        (b"", "shop.train.inter"),
        (HEADER, "shop.train.inter"),
        (b"session_id\titem_id\ttimestamp\ns1\ta\t1\n", "session_id:token"),
        (b"session_id:token\titm_id:token\ts1\ta\n", "item_id"),
        (GOOD.replace(b"token", b"tokens"), "tokens"),
        (GOOD + b"s3\t\t5\n", "shop.train.inter line 6"),
        (GOOD + b"s3\ta\tnan\n", "shop.train.inter line 6"),
        (GOOD + b"s3\ta\tsoon\n", "shop.train.inter line 6"),
        (GOOD + b"s3\ta\n", "shop.train.inter line 6"),
        (GOOD + b"s1\tb\t9\n", "s1"),
        (GOOD + b"s3\t\xff\xfe\t5\n", "shop.train.inter line 6"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "shop.train.inter"),
        (HEADER + b"s1\ta\t1\ns2\tb\t2\n", "one click"),
        (None, "shop.train.inter"),
    ],
)
def test_each_bad_data_file_gets_one_line_that_names_the_place(train, named, capsys):
    folder = Path("dataset_atomic/shop")
    folder.mkdir(parents=True)
    (folder / "shop.test.inter").write_bytes(GOOD)
    if train is not None:
        (folder / "shop.train.inter").write_bytes(train)
    assert named in error_line(["--dataset=shop", "--topk=[1]", "--valid_metric=MRR@1"], capsys)
    assert not Path("runs").exists()


def test_an_unwritable_run_directory_is_one_line(capsys):
    Path("runs").write_text("a file is in the way")
    assert "run_dir" in error_line(QUICK, capsys)


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["list", "models"], "TMEGNN"),
        (["list", "datasets"], "tmall"),
        (["list", "keys", "TMEGNN"], "rank_high"),
        (["doctor"], "torch"),
    ],
)
def test_questions_are_answered_without_training(command, shown, capsys):
    assert main(command) == 0
    assert shown in capsys.readouterr().out
    assert not Path("runs").exists()


def test_output_that_is_cut_short_is_no_error(tmp_path):
    command = f"{sys.executable} -m recbole_tme list keys TMEGNN | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_a_plugin_model_runs_by_name(tmp_path):
    Path("plugged_in.py").write_text(
        "from recbole_tme.models.tmegnn import TMEGNN\n\n\nclass PluggedIn(TMEGNN):\n"
        '    """TME-GNN without triplets."""\n\n    defaults = {"triplet_weight": 0.0}\n'
    )
    assert main(["--plugin=plugged_in.py", "--model=PluggedIn", *QUICK[:3]]) == 0
    assert list(Path("runs/toy/PluggedIn").glob("*/metrics.json"))


def test_table_is_made_from_runs_and_keeps_protocols_apart(capsys):
    for extra in (["--seed=1"], ["--seed=2"], ["--MAX_ITEM_LIST_LENGTH=7"]):
        assert main([*QUICK, *extra]) == 0
    Path("page.md").write_text("before\n<!-- results: begin -->\nold\n<!-- results: end -->\nafter\n")
    assert main(["table", "runs", "--into=page.md"]) == 0
    page = Path("page.md").read_text()
    assert page.startswith("before\n") and page.endswith("after\n") and "old" not in page
    assert page.count("| TMEGNN | 2 |") == 1 and page.count("| TMEGNN | 1 |") == 1 and "±" in page
    assert main(["table", "page.md"]) == 2 and main(["table", "missing"]) == 2
    assert main(["table", "runs", "--into=missing.md"]) == 2


@pytest.mark.parametrize("argv", [[], ["help"], ["--help"], ["-h"]])
def test_the_program_introduces_all_its_commands(argv, capsys):
    assert main(argv) == 0
    printed = capsys.readouterr().out
    modules = {path.stem for path in (ROOT / "recbole_tme" / "commands").glob("*.py")}
    assert set(COMMANDS) <= modules and not Path("runs").exists()
    for name in COMMANDS:
        assert f"\n  {name} " in printed, name
    assert max(map(len, printed.splitlines())) <= 80
    assert all(f"\n{group}\n" in printed for group in ("data", "train", "compare", "deploy"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_fits_the_terminal_and_imports_nothing_heavy(name, tmp_path):
    code = (
        f"import sys; from recbole_tme.cli import main\ntry:\n main(['help', {name!r}])\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'recbole', 'pandas', 'sklearn', 'ray', 'duckdb') if m in sys.modules])"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("usage: recbole-tme"), done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("typed", "offered"), [("recbole-tme sig", "significance"), ("recbole-tme serve --wat", "--watch")]
)
def test_a_shell_is_offered_commands_and_options(typed, offered):
    pytest.importorskip("argcomplete")
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": typed, "COMP_POINT": str(len(typed)), "PYTHONPATH": str(ROOT)}
    # argcomplete answers on file descriptor 8.
    command = f"{sys.executable} -m recbole_tme 8>&1 >/dev/null 2>&1"
    done = subprocess.run(["bash", "-c", command], env=os.environ | asked, capture_output=True, text=True)
    assert offered in done.stdout


def test_the_version_is_the_packages(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"recbole-tme {recbole_tme.__version__}"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["tabel", "runs"], "'tabel' is not a command; did you mean table?"),
        (["stray"], "'stray' is not a command"),
        (["table", "runs", "--inot=x.md"], "--inot is not an option of recbole-tme table; did you mean --into?"),
        (["report", "a", "--referense=x"], "did you mean --reference?"),
        (["compare", "--modls=SPop"], "--models"),
        (["compare", "--models=SPop", "--dataset=toy", "--refrence=SPop"], "did you mean reference?"),
        (["compare", "--models=SPop", "--dataset=toy", "--wrkers=2"], "did you mean workers?"),
        (["--dataset="], "--dataset= has nothing behind it"),
        (["--dataset=toy", "--model="], "--model= has nothing behind it"),
        (["--dataset=toy", "--valid_metric="], "valid_metric needs a value"),
        (["audit"], "dataset"),
        (["serve", "--port=http", "x"], "--port"),
    ],
)
def test_a_misspelt_command_or_option_gets_one_line_with_the_nearest(argv, said, capsys):
    assert main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and said in line
    assert not Path("runs").exists()


def test_dashes_and_underscores_are_the_same(capsys):
    """All other tests write options with dashes and keys with underscores."""
    assert main(["compare", "--models=SPop", "--dataset=toy", "--dry_run", "--valid-metric=MRR@5"]) == 0
    assert "1 of them to be trained" in capsys.readouterr().out


def test_resuming_a_finished_run_says_so_with_its_result(capsys):
    assert main(QUICK) == 0
    (path,) = Path("runs/toy/TMEGNN").iterdir()
    before = (path / "metrics.json").read_bytes()
    capsys.readouterr()
    for name in (str(path), "runs", "latest"):
        assert main([f"--resume={name}"]) == 0
        printed = capsys.readouterr()
        assert "is finished" in printed.err and f"--config_files={path / 'config.yaml'}" in printed.err
        assert "P@20" in printed.out
    assert (path / "metrics.json").read_bytes() == before
    assert main(["show", "latest"]) == 0
    assert str(path) in capsys.readouterr().out


@pytest.mark.parametrize("epoch", [0, 1])
def test_an_interrupted_run_says_how_to_go_on(epoch, monkeypatch, capsys):
    from recbole_tme.experiment import trainer

    def interrupted(self, data, number, *args, **kwargs):
        if number == epoch:
            raise KeyboardInterrupt
        return train_epoch(self, data, number, *args, **kwargs)

    train_epoch = trainer.SessionTrainer._train_epoch
    with monkeypatch.context() as patched:
        patched.setattr(trainer.SessionTrainer, "_train_epoch", interrupted)
        assert main([*QUICK[:1], "--epochs=2", *QUICK[2:]]) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    if epoch == 0:
        assert "nothing to resume yet" in said and not list(Path("runs").rglob("config.yaml"))
    else:
        (path,) = Path("runs/toy/TMEGNN").iterdir()
        assert f"--resume={path}" in said
        assert main([f"--resume={path}"]) == 0 and (path / "metrics.json").is_file()


def test_an_unexpected_exception_is_one_line_and_a_file(monkeypatch, capsys, tmp_path):
    def broken(*_):
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr("recbole_tme.commands.doctor.run", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["doctor"]) == 70
    (line,) = capsys.readouterr().err.splitlines()
    (file,) = tmp_path.glob("recbole-tme-*.log")
    assert "RuntimeError: first" in line and str(file) in line and "second" not in line
    assert "Traceback" in file.read_text()
    with pytest.raises(RuntimeError):
        main(["doctor", "--traceback"])


def test_ci_calls_the_test_line_of_the_readme():
    readme = (ROOT / "README.md").read_text()
    (line,) = [
        line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith("python3 -m venv .venv ")
    ]
    assert line.replace("-q ", "") in readme.replace("-q ", "")
