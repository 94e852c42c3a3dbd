"""The files of a search, damaged and of a wrong shape: it goes on, or is refused with one line."""

import json
import random
import shutil

import pytest

from tests.attack.test_damaged_updates import damages
from tests.attack.test_kills_in_tune import WORDS
from tests.attack.test_wrong_shapes import PER_FILE, WRONG, changed, places
from tests.helpers.attack import command, leftovers
from tests.helpers.tuner import without_ray

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FILES = ("plan.json", "space.yaml", "journal.jsonl", "study.json", "best.yaml")


def commands(study):
    yield ["tune", f"--resume={study}", "--final-seeds=1"]
    yield ["compare", "--models=SRGNN", "--dataset=toy", f"--tuned={study}", "--dry-run"]
    yield ["list", "runs", f"--run_dir={study.parents[2]}"]


def wrong_line(content, rng):
    """A journal with a line that is another event than any that was written."""
    lines = content.splitlines()
    at = rng.randrange(len(lines))
    event = json.loads(lines[at])
    path = rng.choice([path for path in places(event) if path])
    lines[at] = json.dumps(changed(event, path, rng.choice(WRONG), rng.random() < 0.3)).encode()
    return b"\n".join(lines) + b"\n"


def test_a_search_whose_files_are_damaged_goes_on_or_is_refused(tmp_path):
    whole, place, rng = tmp_path / "whole", tmp_path / "runs", random.Random("study")
    assert command(*WORDS, f"--run_dir={place}", before=without_ray).code == 0
    place.rename(whole)
    for name in FILES:
        for number in range(max(3, PER_FILE // 8)):
            shutil.copytree(whole, place)
            (study,) = place.glob("*/*/tune-*")
            content = (study / name).read_bytes()
            as_line = name == "journal.jsonl" and rng.random() < 0.7
            (study / name).write_bytes(wrong_line(content, rng) if as_line else damages(content, name, rng))
            for words in commands(study):
                outcome = command(*words, before=without_ray)
                what = f"{name}, damage {number} ({(study / name).read_bytes()[:200]!r}): {words[0]}"
                assert outcome.problem() is None, f"{what}: {outcome.problem()}"
                assert leftovers(place) == [], what
            shutil.rmtree(place)
