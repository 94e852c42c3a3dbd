"""Each benchmark still runs from end to end, on little data: what it measures there says nothing."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_tme.data.readers.atomic import write_dataset
from recbole_tme.data.readers.movielens import movielens_folder
from recbole_tme.data.synthetic import toy

ROOT = Path(__file__).parents[1]
TOY = "--data {toy} --name toy"


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        f"load.py {TOY} --repeats 1",
        f"step.py {TOY} --rounds 1 --steps 1 --batch-size 64",
        f"batch_size.py {TOY} --rounds 1 --sizes 16 64",
        f"builtin_models.py {TOY} --rounds 1 --batch-size 64",
        f"evaluation.py {TOY} --rounds 1 --instances 200",
        f"evaluation.py {TOY} --rounds 1 --instances 200 --as-shipped",
        f"stacks.py {sys.executable} {sys.executable} {TOY} --rounds 1 --steps 1 --instances 100 --epochs 1",
        "nightly.py --data {toy} --name toy --model=SRGNN --least-sessions 1 --first-days 1",
        "cold_items.py --models SRGNN --seeds 1 --epochs 1",
        "clicks.py --clicks 3000 --repeats 1",
        "processes.py --items 500 --steps 2 --batch-size 64",
        "large_log.py --clicks 6000 --steps 2 --eval-sample 20",
        "serving.py --http --items 500 --seconds 1",
        "serving.py --soak 6 --items 500",
        "serving.py --model STAN --items 500 --queries 5 --rounds 1",
        "estimate.py --runs SRGNN:toy:1",
        f"time_to_quality.py {TOY} --epochs 1 --out quality",
        "large_catalogue.py --items 500 --prefixes 2000 --steps 2 --full-steps 1",
    ],
)
def test_it_prints_a_table_of_numbers(tmp_path, command):
    folder = write_dataset(tmp_path / "data" / "toy", toy(), {"source": "synthetic"})
    output = ran(command.format(toy=folder), tmp_path)
    rows = [line for line in output.splitlines() if line.startswith("|")]
    # Behind the header and the rule, a name and a number or more in each.
    assert len(rows) > 2, output
    assert any(character.isdigit() for character in rows[2].split("|", 2)[2]), rows[2]


def ran(command: str, folder: Path) -> str:
    """What a benchmark prints, run in a folder."""
    script, *arguments = command.split()
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / script, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_leave_one_out_hides_a_users_last_click_and_the_one_before(tmp_path):
    with (movielens_folder() / "ml-100k.inter").open(newline="") as file:
        ratings = list(csv.reader(file, delimiter="\t"))[1:]
    clicks: dict[str, list[str]] = {}
    for user, item, _, _ in sorted(ratings, key=lambda rating: float(rating[3])):
        clicks.setdefault(user, []).append(item)
    folder = tmp_path / ran("leave_one_out.py --last 20", tmp_path).strip()
    for split, hidden in (("train", 2), ("valid", 1), ("test", 0)):
        with (folder / f"ml100k-users.{split}.inter").open(newline="") as file:
            _, *rows = csv.reader(file, delimiter="\t")
        for user, items in clicks.items():
            kept = items[-20 : len(items) - hidden]
            wanted = [[user, item] for item in kept]
            if split != "train":
                wanted = [[*row, str(int(place == len(kept) - 1))] for place, row in enumerate(wanted)]
            assert [row for row in rows if row[0] == user] == wanted
