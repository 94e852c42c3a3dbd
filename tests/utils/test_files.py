"""Files are written whole or not at all, and what stops a write is said in one line."""

import errno
import os
from pathlib import Path

import pytest

from recbole_tme.errors import UserError
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.utils import files
from recbole_tme.utils.files import write_atomically


@pytest.mark.parametrize(("code", "said"), [(errno.ENOSPC, "No space left"), (errno.EROFS, "Read-only")])
def test_a_full_or_read_only_disk_is_one_line_and_leaves_the_old_file(tmp_path, monkeypatch, code, said):
    target = tmp_path / "metrics.json"
    target.write_text("before")

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(UserError, match=f"metrics.json: {said}"):
        write_atomically(target, b"after")
    assert target.read_text() == "before" and [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_written_files_can_be_read_by_others(tmp_path):
    write_atomically(tmp_path / "a", b"content")
    assert (tmp_path / "a").read_bytes() == b"content" and (tmp_path / "a").stat().st_mode & 0o044 == 0o044


def test_runs_of_one_second_get_directories_of_their_own(tmp_path):
    made = [RunDirectory.create(tmp_path, "toy", "recbole:SRGNN", 1, "abcd1234").path for _ in range(3)]
    assert len(set(made)) == 3 and {path.parent for path in made} == {tmp_path / "toy" / "recbole-SRGNN"}


def test_a_file_in_the_way_of_the_run_directory_is_one_line(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(UserError, match="run_dir"):
        RunDirectory.create(tmp_path / "runs", "toy", "TMEGNN", 1, "abcd1234")


def test_history_columns_are_the_union_over_epochs(tmp_path):
    run = RunDirectory(tmp_path)
    run.write_history([{"epoch": 0, "loss": 1.5}, {"epoch": 1, "loss": 1.25, "extra": 2}])
    assert run.history_file.read_text() == "epoch,loss,extra\n0,1.5,\n1,1.25,2\n"


def test_opening_what_is_no_run_directory_names_it(tmp_path):
    with pytest.raises(UserError, match=r"config\.yaml"):
        RunDirectory.open(Path(tmp_path))
