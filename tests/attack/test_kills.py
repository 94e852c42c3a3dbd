"""A process may be killed at any moment: the same command then ends as if nothing had happened, and nothing is lost."""

import json
import shutil

import pytest

from recbole_tme.data.readers.atomic import read_dataset
from tests.helpers.attack import command, kill_at

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


def fault_points(words, place, scratch) -> list[str]:
    """The names of a command's fault points."""
    log = scratch / "points"
    outcome = command(*words, before=kill_at(None, place, log))
    assert outcome.code == 0, outcome.err
    return log.read_text().splitlines()


def leftovers(place) -> list[str]:
    return sorted(path.name for path in place.rglob("*") if path.name.endswith((".part", ".old", ".lock")))


def results(place) -> list[dict]:
    """The figures of every finished run below a folder."""
    found = [json.loads(file.read_text()) for file in sorted(place.rglob("metrics.json"))]
    return [{key: one[key] for key in ("test", "valid", "best_epoch", "slices")} for one in found]


@pytest.mark.parametrize("model", RUNS)
def test_a_run_killed_at_any_fault_point_is_resumed_or_was_never_there(model, tmp_path):
    place, scratch = tmp_path / "runs", tmp_path / "scratch"
    scratch.mkdir()
    words = ["run", *RUNS[model], f"--run_dir={place}"]
    points = fault_points(words, place, scratch)
    (expected,) = results(place)
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
    assert len(points) > 10
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
    expected = sorted(path.name for path in out.rglob("*"))
    for number, point in enumerate(points):
        shutil.rmtree(out)
        assert command(*words, before=kill_at(number, out, scratch / "points")).code == -9, point
        again = command(*words)
        assert again.code == 0 and not again.problem(), f"{point}: {again.err}"
        assert sorted(path.name for path in out.rglob("*")) == expected, point
