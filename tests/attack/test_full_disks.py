"""Full disks and folders without permission: one line, nothing half written, and afterwards all is well."""

import os
import shutil

import pytest

from tests.helpers.attack import command, full_disk, without_privileges

pytestmark = pytest.mark.slow

QUICK = ["--model=SRGNN", "--dataset=toy", "--epochs=1", "--show_progress=False", "--device=cpu", "--embedding_size=8"]


@pytest.fixture
def place(tmp_path):
    """A data set, a finished run and a bundle, which whoever runs the commands may write to."""
    place = tmp_path / "place"
    place.mkdir()
    (place / "log.csv").write_text(
        "session,item,time\n" + "".join(f"{i},{(i * k) % 9},{100 * i + k}\n" for i in range(60) for k in range(4))
    )
    assert command("run", *QUICK, f"--run_dir={place / 'runs'}").code == 0
    (run,) = (path.parent for path in (place / "runs").rglob("metrics.json"))
    run.rename(place / "run")
    shutil.rmtree(place / "runs")
    item = (place / "run" / "items.txt").read_text().splitlines()[1]
    (place / "sessions.txt").write_text(f"{item}\n")
    assert command("bundle", place / "run", f"--out={place / 'bundle'}").code == 0
    return place


def commands(place):
    """What writes, and the folder or file it writes."""
    yield place / "runs", ["run", *QUICK, f"--run_dir={place / 'runs'}"]
    yield place / "data", ["prepare", place / "log.csv", "--name=set", f"--out={place / 'data'}", "--min-support=1"]
    yield place / "report", ["report", place / "run", f"--out={place / 'report'}"]
    yield place / "bundled", ["bundle", place / "run", f"--out={place / 'bundled'}"]
    yield (
        place / "out.csv",
        ["significance", place / "run", place / "bundle" / ".." / "run", f"--csv={place / 'out.csv'}"],
    )
    yield (
        place / "out.tsv",
        ["recommend", place / "run", f"--input={place / 'sessions.txt'}", f"--output={place / 'out.tsv'}"],
    )


def files(folder):
    """Every file below a folder with its size, but for logs."""
    return {str(path): path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != "log.txt"}


def test_a_disk_that_is_full_at_any_size(place):
    before = files(place)
    for target, words in commands(place):
        for largest in (0, 60, 300, 2_000, 8_000, 30_000):
            outcome = command(*words, before=full_disk(largest))
            assert outcome.problem() is None, f"{words[0]} with {largest} bytes: {outcome.problem()}"
            # A run keeps what can be resumed, and of a report's files each is whole.
            if outcome.code == 2 and words[0] not in ("run", "report"):
                assert files(place) == before, f"{words[0]} with {largest} bytes left something behind"
            for kind in (".part", ".lock", ".old"):
                assert not list(place.rglob(f"*{kind}")), f"{words[0]} with {largest} bytes"
            shutil.rmtree(target, ignore_errors=True) if target.is_dir() else target.unlink(missing_ok=True)
        again = command(*words)
        assert again.code == 0, f"{words[0]}: {again.err}"
        shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)


def test_standard_output_on_a_full_disk(place):
    def onto_full():
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)

    for words in (["table", place / "run"], ["list", "models"], ["audit", "toy"]):
        outcome = command(*words, before=onto_full)
        assert outcome.code == 2 and outcome.problem() is None, f"{words}: {outcome}"


def test_files_and_folders_without_permission(place):
    closed = [place, place / "run", place / "bundle", *(place / "run").iterdir(), *(place / "bundle").iterdir()]
    readers = [*commands(place), (place / "none", ["recommend", place / "bundle", f"--input={place / 'sessions.txt'}"])]
    readers += [
        (place / "none", ["table", place / "run"]),
        (place / "none", ["leakcheck", place / "run", "--instances=4"]),
    ]
    readers += [(place / "none", ["run", f"--resume={place / 'run'}"])]
    for path in closed:
        mode = path.stat().st_mode
        for rights in (0o000, 0o444 if path.is_dir() else 0o200, 0o555 if path.is_dir() else 0o400):
            path.chmod(rights)
            for target, words in readers:
                outcome = command(*words, before=without_privileges)
                path.chmod(mode)
                assert outcome.problem() is None, f"{words} with {path} {rights:o}: {outcome.problem()}"
                shutil.rmtree(target, ignore_errors=True) if target.is_dir() else target.unlink(missing_ok=True)
                path.chmod(rights)
        path.chmod(mode)
