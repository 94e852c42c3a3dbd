"""A process may be killed at any moment: the same command then ends as if nothing had happened, and nothing is lost."""

import json
import shutil
import subprocess
import sys

import pytest

from recbole_tme.data.readers.atomic import read_dataset
from recbole_tme.utils.files import alone_for
from tests.helpers.attack import command, fault_points, kill_at, leftovers, some
from tests.helpers.file_changes import check_declared

pytestmark = pytest.mark.slow

QUICK = [
    "--dataset=toy",
    "--epochs=1",
    "--show_progress=False",
    "--device=cpu",
    "--embedding_size=8",
    "--data_cache=False",
]
RUNS = {"SPop": ["--model=SPop", *QUICK[:4]], "SRGNN": ["--model=SRGNN", *QUICK, "--retrain=True"]}


def results(place) -> list[dict]:
    """The figures of every finished run below a folder."""
    found = [json.loads(file.read_text()) for file in sorted(place.rglob("metrics.json"))]
    return [{key: one[key] for key in ("test", "valid", "epoch", "slices")} for one in found]


@pytest.mark.parametrize("model", RUNS)
def test_a_run_killed_at_any_fault_point_is_resumed_or_was_never_there(model, tmp_path):
    place, scratch = tmp_path / "runs", tmp_path / "scratch"
    scratch.mkdir()
    words = ["run", *RUNS[model], f"--run_dir={place}"]
    points = fault_points(words, place, scratch)
    (expected,) = results(place)
    check_declared("run", points)
    assert len(points) > 20
    for number, point in enumerate(points):
        shutil.rmtree(place, ignore_errors=True)
        killed = command(*words, before=kill_at(number, place, scratch / "points"))
        assert killed.code == -9, point
        for directory in [file.parent for file in place.rglob("config.yaml") if file.parent.name[0] != "."]:
            resumed = command("run", f"--resume={directory}")
            assert resumed.code == 0 and not resumed.problem(), f"{point}: {resumed.err}"
            assert results(place) == [expected], point
        again = command(*words)
        assert again.code == 0 and not again.problem(), f"{point}: {again.err}"
        assert all(one == expected for one in results(place)), point
        assert leftovers(place) == [], point


def log_of(path, items):
    path.write_text(
        "session,item,time\n" + "".join(f"{i},{(i * k) % items},{100 * i + k}\n" for i in range(60) for k in range(4))
    )
    return path


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_data_set_killed_at_any_fault_point_is_the_old_one_or_the_new_one(tmp_path, overwrite):
    place, scratch = tmp_path / "data", tmp_path / "scratch"
    scratch.mkdir()
    old, new = (log_of(scratch / f"{items}.csv", items) for items in (7, 11))
    prepare = ["prepare", "--name=set", f"--out={place}", "--min-support=1"]
    words = [*prepare, str(new), *(["--overwrite"] if overwrite else [])]

    def fresh():
        shutil.rmtree(place, ignore_errors=True)
        if overwrite:
            assert command(*prepare, str(old)).code == 0

    def items():
        return len(read_dataset(place / "set", "set").tokens) - 1

    fresh()
    points = fault_points(words, place, scratch)
    check_declared("prepare", points)
    wanted, before = items(), None
    if overwrite:
        fresh()
        before = items()
        assert before != wanted
    for number, point in enumerate(points):
        fresh()
        assert command(*words, before=kill_at(number, place, scratch / "points")).code == -9, point
        # Whoever reads meanwhile finds a whole data set, or none where there was none.
        audit = command("audit", "set", f"--data_path={place}")
        assert audit.code == (0 if (place / "set").exists() else 2) and not audit.problem(), f"{point}: {audit.err}"
        if (place / "set").exists():
            assert items() in (wanted, before), point
        else:
            assert not overwrite, point
        again = command(*prepare, "--overwrite", str(new))
        assert again.code == 0 and items() == wanted, f"{point}: {again.err}"
        assert leftovers(place) == [], point


def test_a_comparison_killed_at_any_fault_point_is_written_by_the_same_command(tmp_path):
    place, scratch = tmp_path / "runs", tmp_path / "scratch"
    scratch.mkdir()
    for model in ("SPop", "SR"):
        assert command("run", f"--model={model}", "--dataset=toy", f"--run_dir={place}").code == 0
    out = tmp_path / "out"
    words = ["compare", "--models=SPop,SR", "--dataset=toy", f"--run_dir={place}", f"--out={out}"]
    points = fault_points(words, out, scratch)
    check_declared("compare", points)
    expected = sorted(path.name for path in out.rglob("*"))
    for number, point in enumerate(points):
        shutil.rmtree(out)
        assert command(*words, before=kill_at(number, out, scratch / "points")).code == -9, point
        again = command(*words)
        assert again.code == 0 and not again.problem(), f"{point}: {again.err}"
        assert sorted(path.name for path in out.rglob("*")) == expected, point


def test_a_run_directory_that_is_deleted_under_a_run_is_one_line(tmp_path):
    place, scratch = tmp_path / "runs", tmp_path / "scratch"
    scratch.mkdir()
    words = ["run", *RUNS["SRGNN"], f"--run_dir={place}"]
    points = fault_points(words, place, scratch)
    for number in some(points, usual=12):
        shutil.rmtree(place, ignore_errors=True)
        delete = kill_at(number, place, scratch / "points", lambda: shutil.rmtree(place, ignore_errors=True))
        outcome = command(*words, before=delete)
        assert outcome.problem() is None, f"{points[number]}: {outcome.problem()}"


def test_two_imports_under_one_name_at_once_the_second_is_refused(tmp_path):
    """The second waits until the first is done, and then finds its data set."""
    place = tmp_path / "data"
    place.mkdir()
    words = ["prepare", str(log_of(tmp_path / "log.csv", 7)), "--name=set", "--min-support=1"]
    assert command(*words, f"--out={tmp_path / 'first'}").code == 0
    # No fork of this process, which would have the lock as well.
    program = [sys.executable, "-m", "recbole_tme", *words, f"--out={place}"]
    with alone_for(place / "set"):
        second = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(5)
        shutil.copytree(tmp_path / "first" / "set", place / "set")
    _, error = second.communicate(timeout=100)
    assert second.returncode == 2 and "exists already" in error and error.count("\n") == 1, error
