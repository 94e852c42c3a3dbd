"""What trains on, or says what training will cost, given damaged logs, data sets and runs: done, or one line; and
nothing is half written, nor anything of the old model changed."""

import json
import random
import shutil

import pytest

from recbole_tme.experiment import estimate
from tests.attack.test_mutated_inputs import TRIES, mutated
from tests.attack.test_wrong_shapes import PER_FILE, WRONG, changed, places
from tests.helpers.attack import command, leftovers
from tests.helpers.shop import QUIET, checksums, log, open_shop

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    place = folder / "shop"
    open_shop(place, log(folder / "1.csv", 1))
    log(folder / "2.csv", 2)
    return place


@pytest.fixture
def place(shop):
    """The shop, with its logs beside it and as it was before the test and after it."""
    saved = shop.with_name("saved")
    shutil.copytree(shop, saved, symlinks=True)
    yield shop
    shutil.rmtree(shop)
    saved.rename(shop)


def here():
    """Estimate in this process, with few steps."""
    estimate.in_processes, estimate.SECONDS = (lambda function, config: function(config)), 0.05


def commands(place):
    run = place / "current"
    yield ["update", run, place.with_name("2.csv"), "--promote=never", *QUIET]
    yield ["refit", run, *QUIET]
    yield ["estimate", f"--config_files={run / 'config.yaml'}", *QUIET]
    yield ["diagnose", run, f"--out={place / 'made'}"]
    yield ["export", run, "--format=vectors", f"--out={place / 'made.csv'}"]
    yield ["run", f"--config_files={run / 'config.yaml'}", *QUIET]
    yield ["audit", "set", f"--data_path={place / 'data'}"]


def endure(words, place, what):
    """A command ends by itself with at most one line; refused, it leaves nothing; it never changes what was there."""
    before = checksums(place)
    outcome = command(*words, before=here)
    assert outcome.problem() is None, f"{what}: {words[0]}: {outcome.problem()}"
    after = checksums(place)
    assert before.items() <= after.items() and leftovers(place) == [], f"{what}: {words[0]}"
    new = {place / path for path in after.keys() - before.keys()}
    # A run that stops in the middle can be resumed.
    assert outcome.code == 0 or words[0] == "run" or not new, f"{what}: {words[0]}: {new}: {outcome.err}"
    for path in new:
        path.unlink()
    return outcome


def test_mutated_logs_given_to_an_update(place):
    rng, file = random.Random("update"), place.with_name("2.csv")
    whole, done = file.read_bytes(), 0
    for number in range(TRIES):
        file.write_bytes(mutated(whole, rng))
        (words, *_) = commands(place)
        done += endure(words, place, f"mutation {number} ({file.read_bytes()[:80]!r})").code == 0
    file.write_bytes(whole)
    assert done > TRIES / 10


def damages(content, name, rng):
    """Bytes that are wrong; of JSON also the right ones of a wrong shape."""
    if name.endswith(".json") and rng.random() < 0.7:
        plain = json.loads(content)
        return json.dumps(
            changed(plain, rng.choice(list(places(plain))), rng.choice(WRONG), rng.random() < 0.3)
        ).encode()
    return mutated(content, rng)


@pytest.mark.parametrize("where", ["current", "data/set"])
def test_damaged_files_of_a_run_and_of_its_data(where, place):
    rng, folder = random.Random(where), (place / where).resolve()
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name != "log.txt")
    assert len(files) >= 3
    for file in files:
        content = file.read_bytes()
        for number in range(PER_FILE // 3):
            file.write_bytes(damages(content, file.name, rng))
            for words in rng.sample(list(commands(place)), 2):
                endure(words, place, f"{file.name}, damage {number}")
        for what in ("none", "a folder", "a link to itself"):
            file.unlink()
            if what == "a folder":
                file.mkdir()
            elif what == "a link to itself":
                file.symlink_to(file.name)
            for words in rng.sample(list(commands(place)), 3):
                endure(words, place, f"{file.name} is {what}")
            if what == "a folder":
                file.rmdir()
            if what != "a link to itself":
                file.touch()
        file.unlink()
        file.write_bytes(content)
