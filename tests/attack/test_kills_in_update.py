"""An update may be killed at any moment: the old model stays, whole, until the new one takes its place in one step."""

import shutil

import pytest

from recbole_tme.runs.directory import RunDirectory
from recbole_tme.runs.find import named_run
from recbole_tme.runs.lineage import read_lineage
from tests.helpers.attack import command, fault_points, kill_at, leftovers, some
from tests.helpers.file_changes import check_declared
from tests.helpers.shop import QUIET, checksums, log, open_shop

pytestmark = pytest.mark.slow


def test_an_update_killed_at_any_fault_point_leaves_the_old_model_or_the_new_one(tmp_path):
    place, scratch, saved = tmp_path / "shop", tmp_path / "scratch", tmp_path / "saved"
    scratch.mkdir()
    days = [log(scratch / f"{day}.csv", day) for day in (1, 2)]
    old = open_shop(place, days[0])
    shutil.copytree(place, saved, symlinks=True)
    untouched = checksums(old)
    words = ["update", str(place / "current"), str(days[1]), "--promote=always", *QUIET]

    def fresh():
        shutil.rmtree(place)
        shutil.copytree(saved, place, symlinks=True)

    points = fault_points(words, place, scratch)
    assert len(points) > 30 and points[-1].startswith("after replace .current"), points[-5:]
    check_declared("update", points)
    for number in some(points, usual=15):
        point = points[number]
        fresh()
        assert command(*words, before=kill_at(number, place, scratch / "points")).code == -9, point
        assert checksums(old) == untouched, point
        now = RunDirectory.open(place / "current")
        done = now.path.resolve() != old.resolve()
        assert now.finished and (not done or read_lineage(now)["promoted"]), point
        newest = named_run(place / "runs")
        assert newest == old or read_lineage(RunDirectory(newest))["promoted"], point
        # Ending it once more takes most of the test's time.
        if number % 4 and not done:
            continue
        # The same command; where the killed one had come to its end, there is nothing left to append.
        again = command(*words)
        assert again.code == (2 if done else 0) and not again.problem(), f"{point}: {again.err}"
        assert not done or "no newer session" in again.err, point
        assert read_lineage(RunDirectory.open(place / "current"))["generation"] == 1, point
        assert leftovers(place) == [] or done, point
