"""Files are written whole or not at all, and what stops a write is said in one line."""

import errno
import multiprocessing
import os
import stat
import threading
from pathlib import Path

import pytest

from recbole_tme.errors import UserError
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.utils import files
from recbole_tme.utils.files import alone_for, alone_in, write_atomically


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


def created(root, model="recbole:SRGNN"):
    with RunDirectory.create(root, "toy", model, 1, "abcd1234") as run:
        run.write_config({"seed": 1})
    return run.path


def test_runs_of_one_second_get_directories_of_their_own(tmp_path):
    made = [created(tmp_path) for _ in range(3)]
    assert len(set(made)) == 3 and {path.parent for path in made} == {tmp_path / "toy" / "recbole-SRGNN"}
    assert sorted(made[0].parent.iterdir()) == sorted(made)


def test_a_run_directory_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyError), RunDirectory.create(tmp_path, "toy", "SR", 1, "abcd1234") as run:
        assert run.path.name.startswith(".") and not RunDirectory.existing(tmp_path, "toy", "SR", 1, "abcd1234")
        run.write_config({})
        assert not RunDirectory.existing(tmp_path, "toy", "SR", 1, "abcd1234")
        raise KeyError
    assert list((tmp_path / "toy" / "SR").iterdir()) == []


def test_a_file_in_the_way_of_the_run_directory_is_one_line(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(UserError, match="run_dir"):
        created(tmp_path / "runs")


def test_history_columns_are_the_union_over_epochs(tmp_path):
    run = RunDirectory(tmp_path)
    run.write_history([{"epoch": 0, "loss": 1.5}, {"epoch": 1, "loss": 1.25, "extra": 2}])
    assert run.history_file.read_text() == "epoch,loss,extra\n0,1.5,\n1,1.25,2\n"


def test_opening_what_is_no_run_directory_names_it(tmp_path):
    with pytest.raises(UserError, match=r"config\.yaml"):
        RunDirectory.open(Path(tmp_path))


def test_a_device_or_a_pipe_is_written_to_and_a_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    kept = tmp_path / "real" / "file"
    kept.write_text("before")
    kept.chmod(0o640)
    (tmp_path / "link").symlink_to(kept)
    write_atomically(tmp_path / "link", b"after")
    assert (tmp_path / "link").is_symlink() and kept.read_text() == "after"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o640
    os.mkfifo(tmp_path / "pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_atomically(tmp_path / "pipe", b"through")
    reader.join(10)
    assert got == [b"through"] and stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    write_atomically(Path("/dev/null"), b"gone")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_new_files_have_what_the_umask_leaves(tmp_path):
    before = os.umask(0o077)
    try:
        write_atomically(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_names_as_long_as_a_file_system_takes_are_written_and_longer_ones_are_one_line(tmp_path):
    write_atomically(tmp_path / ("ü" * 127), b"x")
    for name in ("x" * 300, "a\0b"):
        with pytest.raises(UserError, match="cannot write"):
            write_atomically(tmp_path / name, b"x")


def hold(folder, named, ready, stop):
    with alone_for(folder) if named else alone_in(folder):
        ready.set()
        stop.wait(60)


@pytest.mark.parametrize("named", [True, False])
def test_the_second_is_refused_and_told_who_holds_the_lock(tmp_path, named):
    context = multiprocessing.get_context("fork")
    ready, stop = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path / "x" if named else tmp_path, named, ready, stop))
    other.start()
    ready.wait(60)
    try:
        with pytest.raises(UserError, match=rf"is in use: (process {other.pid}|another process)"):
            hold(tmp_path / "x" if named else tmp_path, named, context.Event(), context.Event())
    finally:
        stop.set()
        other.join(60)
    stop.set()
    hold(tmp_path / "x" if named else tmp_path, named, context.Event(), stop)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_killed_processes_go_and_those_of_living_ones_stay(tmp_path):
    dead, living = tmp_path / ".a.999999999.0000.part", tmp_path / f".a.{os.getpid()}.0000.part"
    (tmp_path / ".set.0123.part").mkdir()
    for file in (dead, living, tmp_path / "own.part"):
        file.write_text("half")
    with alone_in(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([living.name, "own.part"])


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_takes_the_place_of_another(tmp_path, monkeypatch, exchanges):
    if not exchanges:
        monkeypatch.setattr(files, "exchange", lambda *_: False)
    for name in ("new", "set"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "content").write_text(name)
    files.put_in_place(tmp_path / "new", tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert (tmp_path / "set" / "content").read_text() == "new"


def test_a_folder_whose_replacement_was_killed_comes_back(tmp_path):
    (tmp_path / ".set.old").mkdir()
    (tmp_path / ".set.old" / "content").write_text("old")
    files.recover(tmp_path / "set")
    assert (tmp_path / "set" / "content").read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["set"]
