"""A search that is killed at any fault point goes on, and ends as if nothing had happened."""

import json
import shutil

import pytest

from tests.helpers.attack import command, fault_points, kill_at, leftovers, some
from tests.helpers.file_changes import check_declared
from tests.helpers.tuner import without_ray

pytestmark = pytest.mark.slow

WORDS = [
    *("tune", "--model=SRGNN", "--dataset=toy", "--num-samples=2", "--search=random", "--scheduler=none", "--epochs=1"),
    *("--final-seeds=1", "--embedding_size=8", "--device=cpu", "--show_progress=False", "--data_cache=False"),
]


def result(place):
    """What a search found: trials with their scores, the best settings, and the runs on test."""
    (folder,) = place.rglob("tune-*")
    study = json.loads((folder / "study.json").read_text())
    trials = [line.split(",") for line in (folder / "trials.csv").read_text().splitlines()]
    timed = [number for number, name in enumerate(trials[0]) if "seconds" in name]
    rows = [[cell for number, cell in enumerate(row) if number not in timed] for row in trials]
    settings = [line for line in (folder / "best.yaml").read_text().splitlines() if not line.startswith("#")]
    return rows, settings, [(one["seed"], one["test"]) for one in study["final"]]


def test_a_search_killed_at_any_fault_point_goes_on_and_finds_the_same(tmp_path):
    place, scratch = tmp_path / "runs", tmp_path / "scratch"
    scratch.mkdir()
    words = [*WORDS, f"--run_dir={place}"]
    points = fault_points(words, place, scratch, without_ray)
    expected = result(place)
    check_declared("tune", points)
    assert len(expected[0]) == 3 and len(expected[2]) == 1 and len(points) > 100
    for number in some(points, usual=10):
        what = f"fault point {number}: {points[number]}"
        shutil.rmtree(place)

        def killed(number=number):
            without_ray()
            kill_at(number, place, scratch / "points")()

        assert command(*words, before=killed).code == -9, what
        studies = [folder for folder in place.rglob("tune-*") if folder.name[0] != "."]
        again = command(
            *(["tune", f"--resume={studies[0]}", "--final-seeds=1"] if studies else words), before=without_ray
        )
        assert again.code == 0 and not again.problem(), f"{what}: {again.err}"
        assert result(place) == expected, what
        assert leftovers(place) == [] and not list(place.rglob("trials/*/checkpoint*")), what
        # The run on test goes on, too.
        assert len(list(place.rglob("*/config.yaml"))) == len(list(place.rglob("metrics.json"))) + 2, what
