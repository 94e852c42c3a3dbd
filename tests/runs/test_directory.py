"""A run directory is there whole, or not at all."""

from pathlib import Path

import pytest

from recbole_tme.runs import directory
from recbole_tme.runs.directory import RunDirectory


def made(root: Path) -> RunDirectory:
    with RunDirectory.create(root, "toy", "SRGNN", 2020, "0123abcd") as run:
        run.config_file.write_text("model: SRGNN\n")
        run.history_file.write_text("epoch\n")
    return run


def test_a_removed_run_leaves_no_empty_folders(tmp_path):
    first, second = made(tmp_path / "runs"), made(tmp_path / "runs")
    first.remove()
    assert list((tmp_path / "runs").glob("*/*/*")) == [second.path]
    second.remove()
    assert not list(tmp_path.iterdir())


def test_no_half_of_a_run_is_left_where_its_removal_is_killed(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def half(folder, **_):
        (Path(folder) / "config.yaml").unlink()
        raise Killed

    run = made(tmp_path)
    monkeypatch.setattr(directory.shutil, "rmtree", half)
    with pytest.raises(Killed):
        run.remove()
    assert not [path for path in run.path.parent.iterdir() if path.name[0] != "."]
