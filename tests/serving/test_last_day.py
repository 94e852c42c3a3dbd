"""From a shop's log to answers in four lines: what was sold for the first time on the last day is recommended, too."""

import shlex
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

pytest.importorskip("fastapi", reason="needs FastAPI, the extra serve")
pytest.importorskip("httpx", reason="FastAPI's test client needs httpx")

from fastapi.testclient import TestClient

from recbole_tme.cli import main
from recbole_tme.commands.serve import named_models
from recbole_tme.serving.recommender import Recommender
from recbole_tme.serving.server.app import make_app
from recbole_tme.serving.server.models import Models, Served

START = 1_569_888_616
# As docs/own_data.md has them.
LINES = (
    "prepare clicks.csv --name shop --session visit --item sku --time when --title name",
    "run --dataset=shop --fit=all --model=VSKNN --device=cpu",
    "recommend latest --input today.csv --session visit --item sku --time when --output answers.parquet -k 2",
)


def write_log(path):
    """Thirty days of twenty sessions over 25 items; on the last day, two new lamps are looked at together."""
    rng = np.random.default_rng(0)
    rows = ["visit,sku,when,name"]
    for s in range(600):
        day, of_day = divmod(s, 20)
        lamps = day == 29 and of_day >= 14
        items = ["new-1", "new-2", "new-1"] if lamps else [f"p{i}" for i in rng.integers(0, 25, 4)]
        start = START + 86_400 * day + 600 * of_day
        rows += [f"s{s},{item},{start + 20 * k},Lamp no. {item}" for k, item in enumerate(items)]
    path.write_text("\n".join(rows))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    write_log(folder / "clicks.csv")
    (folder / "today.csv").write_text("visit,sku,when,name\na,p3,9,x\nb,new-1,10,y\na,p4,11,z\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in LINES[:2]:
            assert main(shlex.split(line)) == 0
        yield folder


def test_recommend_names_them(place, capsys):
    assert main(shlex.split(LINES[2])) == 0
    rows = pq.read_table(place / "answers.parquet").to_pylist()
    found = {row["item"]: row for row in rows if row["session"] == "b"}
    assert found.keys() == {"new-1", "new-2"} and found["new-2"]["source"] == "model"
    assert found["new-2"]["title"] == "Lamp no. new-2"
    assert {row["session"] for row in rows} == {"a", "b"}
    assert "2 sessions" in capsys.readouterr().err


def test_serve_names_them(place):
    # As the command finds it: the run's own folder, which tells of its results.
    ((_, run),) = named_models(Path("latest"), [])
    assert (run / "refit.json").exists()
    served = Served("default", run, lambda _: Recommender.load(run))
    with TestClient(make_app(Models([served]))) as client:
        answer = client.post("/recommend", json={"session": ["new-1"], "k": 2}).json()
        found = {entry["item"]: entry["title"] for entry in answer["items"]}
        assert found == {"new-1": "Lamp no. new-1", "new-2": "Lamp no. new-2"} and answer["source"] == "model"
        found = client.get("/items", params={"q": "lamp no. new"}).json()["items"]
        assert {entry["item"] for entry in found} == {"new-1", "new-2"}


@pytest.mark.slow
def test_serve_in_a_process_of_its_own(place):
    from helpers.serving_process import serving

    with serving("latest") as server:
        status, answer = server.ask("/recommend", {"session": ["new-1"], "k": 2})
        assert status == 200 and "Lamp no. new-2" in [entry["title"] for entry in answer["items"]]
