"""Numbers that would cost without end, folders in use, names that steer what shows them: refused or made harmless."""

import shutil
import time
import zipfile

import pytest

from recbole_tme.cli import main
from recbole_tme.errors import UserError
from recbole_tme.report import latex
from recbole_tme.tuning.journal import Journal
from recbole_tme.utils import tabular
from recbole_tme.utils.files import alone_in

NASTY = "a|b\n\x1b[31m<script>`_x_`\\"


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compare", "--models=SPop", "--dataset=toy", "--seeds=100000000", "--dry-run"], "at most 1000"),
        (["compare", "--models=SPop", "--dataset=toy", f"--seeds={'9' * 5000}", "--dry-run"], "is too large"),
        (["tune", "--model=TMEGNN", "--dataset=toy", "--space=space.yaml"], "at most 100,000"),
    ],
)
def test_a_number_that_would_never_end_is_refused_at_once(tmp_path, words, said, capsys):
    (tmp_path / "space.yaml").write_text("dropout_prob: {quniform: [0.0, 0.5, 1.0e-300]}\n")
    started = time.perf_counter()
    assert main(words) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert said in line and len(line) < 400 and time.perf_counter() - started < 30


@pytest.mark.parametrize(
    ("member", "size", "said"),
    [
        (".", 9, "log.zip"),
        ("log.csv", 3 * 10**8, "are no log"),
        ("../log.csv", 9, "outside"),
    ],
)
def test_zip_files_made_to_harm(tmp_path, member, size, said, capsys):
    with zipfile.ZipFile(tmp_path / "log.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(member), b"0" * size, zipfile.ZIP_DEFLATED)
    before = shutil.disk_usage(tmp_path).free
    assert main(["prepare", "log.zip", "--name=set", "--out=data"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and (said in line or member == ".")
    assert before - shutil.disk_usage(tmp_path).free < 10**8 and not (tmp_path / "data").exists()


def test_two_comparisons_in_one_folder(tmp_path, capsys):
    words = ["compare", "--models=SPop,SR", "--dataset=toy", "--run_dir=runs", "--out=out"]
    (tmp_path / "out").mkdir()
    with alone_in(tmp_path / "out"):
        assert main(words) == 2
    assert "out is in use: " in capsys.readouterr().err and list((tmp_path / "out").iterdir()) == []


def test_two_searches_in_one_folder_the_second_is_refused(tmp_path):
    first = Journal(tmp_path / "journal.jsonl")
    with pytest.raises(UserError, match=r" is in use: process \d+ "):
        Journal(tmp_path / "journal.jsonl")
    first.close()
    Journal(tmp_path / "journal.jsonl").close()


def test_a_run_of_other_metrics_has_its_row_in_a_table(capsys):
    assert main(["run", "--model=SPop", "--dataset=toy", "--run_dir=runs", "--topk=[3]", "--valid_metric=MRR@3"]) == 0
    capsys.readouterr()
    assert main(["table", "runs"]) == 0
    assert "| SPop | 1 | - |" in capsys.readouterr().out


def test_names_do_not_steer_what_shows_them():
    for shown in (tabular.aligned(["name", "x"], [[NASTY, "1"]]), tabular.markdown(["name", "x"], [[NASTY, "1"]])):
        assert "\x1b" not in shown and len(shown.splitlines()) in (2, 3)
    row = tabular.markdown(["name"], [[NASTY]]).splitlines()[-1]
    assert row == r"| a\|b\\n\\x1b\[31m\<script\>\`\_x\_\`\\ |"
    assert "\x1b" not in latex.escaped(NASTY) and "\n" not in latex.escaped(NASTY)
    cells = tabular.csv_text(["a"], [["=1+1"], ["+x"], ["-2.5"], ["-"], [-3], ["@x"], ["plain"]]).splitlines()
    assert cells == ["a", "'=1+1", "'+x", "-2.5", "-", "-3", "'@x", "plain"]


def test_an_error_with_a_name_of_two_lines_is_one_line(capsys):
    assert main(["audit", "no\nsuch\x1b[31m"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert r"no\nsuch\x1b[31m" in line
