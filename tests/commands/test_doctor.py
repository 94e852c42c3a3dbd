"""``doctor``: what it tells of extras, hardware and folders, for people and for programs."""

import json
from collections import namedtuple

from recbole_tme.cli import main
from recbole_tme.commands import doctor

Usage = namedtuple("Usage", "total used free")


def lines(capsys) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_it_tells_extras_memory_and_disk_within_80_columns(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setitem(doctor.EXTRAS, "made-up", ("something", ("no_such_module",)))
    assert main(["doctor"]) == 0
    said = lines(capsys)
    assert {"versions", "extras", "hardware", "folders"} <= set(said)
    place = next(k for k, line in enumerate(said) if line.startswith("missing made-up, for something; to have it:"))
    # On a line of its own, to be copied.
    assert said[place + 1].strip().endswith("[made-up]'") and "-m pip install" in said[place + 1]
    assert any("GB available" in line for line in said) and sum("GB free" in line for line in said) >= 1
    assert not [line for line in said if len(line) > 80 and "pip install" not in line]


def test_little_room_is_a_note_and_a_folder_that_cannot_be_written_breaks(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: Usage(10, 9, 1e8))
    assert main(["doctor"]) == 0
    assert "note    run_dir runs can be written, 0.1 GB free" in lines(capsys)
    (tmp_path / "file").write_text("")
    assert main(["doctor", "--run_dir=file/runs"]) == 1
    assert lines(capsys)[-1] == "1 broken"


def test_programs_read_the_same(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "--json", "--run_dir=runs"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["works"] is True and found["versions"]["torch"]
    assert {one["group"] for one in found["findings"]} >= {"versions", "extras", "hardware", "folders"}
    assert {one["state"] for one in found["findings"]} <= {"ok", "note", "missing"}
