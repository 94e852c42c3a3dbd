"""``update``: what a night leaves behind, what the next one starts from, who is promoted, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch

from recbole_tme import Recommender, UserError, load_run, refit, update
from recbole_tme.cli import main
from recbole_tme.data.prepare import prepare
from recbole_tme.experiment import loading
from recbole_tme.runs.checkpoint import read_weights
from recbole_tme.runs.find import named_run

START, DAY = 1_569_888_000, 86_400
QUIET = ["--device=cpu", "--threads=1", "--show_progress=False"]


def write_day(path, day, n=120, first=0, items=25):
    """Sessions that walk along the items, a new item each day among them."""
    rng = np.random.default_rng(day)
    rows = ["sid,pid,ts"]
    for s in range(n):
        at, length = rng.integers(0, items), rng.integers(2, 6)
        walk = [f"p{(at + k) % items}" for k in range(length)]
        if s % 10 == 0:
            walk.insert(1, f"new{day}")
        rows += [f"d{day}s{first + s},{item},{START + day * DAY + 300 * s + k}" for k, item in enumerate(walk)]
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """A folder with days as logs, a run on the first two, and an update with the third."""
    folder = tmp_path_factory.mktemp("night")
    days = [write_day(folder / f"day{k}.csv", k) for k in range(5)]
    columns = {"session": "sid", "item": "pid", "time": "ts"}
    prepare([str(day) for day in days[:2]], "shop", folder / "data", min_support=1, **columns)
    argv = ["run", "--model=SRGNN", "--dataset=shop", f"--data_path={folder / 'data'}", f"--run_dir={folder / 'runs'}"]
    assert main([*argv, "--embedding_size=16", "--epochs=3", "--train_batch_size=32", *QUIET]) == 0
    first = named_run(folder / "runs")
    (folder / "current").symlink_to(first)
    assert main(["update", str(folder / "current"), str(days[2]), "--promote=always", *QUIET]) == 0
    return folder, days, first, named_run(folder / "runs")


def lineage_of(path):
    return json.loads((path / "lineage.json").read_text())


def test_the_promoted_run_takes_the_links_place_and_knows_the_new_items(night):
    folder, _, first, second = night
    assert (folder / "current").resolve() == second.resolve() != first.resolve()
    before, after = Recommender.load(first), Recommender.load(folder / "current")
    assert "new2" not in before.items and "new2" in after.items
    assert next(after.answers([["new2"]], 3)).source == "model"
    # Columns are those that the data set was prepared with.
    assert lineage_of(second)["log"]["read"]["item"] == "pid"


def test_known_items_keep_their_vectors_but_for_the_epoch(night):
    _, _, first, second = night
    tokens = [(path / "items.txt").read_text().split() for path in (first, second)]
    tables = [read_weights(path / "model.safetensors")["item_embedding.weight"] for path in (first, second)]
    rows = [tokens[1].index(token) for token in tokens[0]]
    moved = (tables[1][rows] - tables[0]).norm(dim=1)[1:] / tables[0].norm(dim=1)[1:]
    # Another training from nothing is as far away as two random tables, 1.4 times their norm.
    assert 0 < moved.median() < 0.5


def test_the_lineage_says_where_it_comes_from_and_how_both_did(night):
    _, _, first, second = night
    lineage = lineage_of(second)
    assert lineage["parent"]["path"] == str(first.resolve()) and lineage["generation"] == 1
    assert lineage["sessions"]["new"] == 120 and lineage["sessions"]["held_out"] == 12
    assert lineage["items"] == {"kept": 27, "from_neighbours": 1, "from_mean": 0, "forgotten": 0}
    assert lineage["low"] <= lineage["difference"] <= lineage["high"] and 0 < lineage["p"] <= 1
    assert lineage["after"]["mrr@20"] - lineage["before"]["mrr@20"] == pytest.approx(lineage["difference"])


def test_it_is_a_run_like_any_other(night):
    folder, _, _, second = night
    shown = load_run(second)
    assert shown.metrics["MRR@20"] == pytest.approx(100 * lineage_of(second)["after"]["mrr@20"])
    loaded = loading.load_run(second)
    assert len(loaded.data.train) == 240 + 108 and len(loaded.data.test) == 12
    refitted = refit(second)
    assert json.loads((refitted.path / "refit.json").read_text())["sessions"] == 360
    assert len(refitted.history) == load_run(second).best_epoch
    shutil.rmtree(refitted.path)
    assert folder.exists()


def test_the_next_night_trains_on_what_was_held_out_and_skips_what_it_knows(night, tmp_path):
    _, days, first, second = night
    updated = update(second, [days[2], days[3]], promote="never", run_dir=str(tmp_path), threads=1, replay=0.0)
    lineage = updated.lineage
    assert not updated.promoted and lineage["generation"] == 2
    assert [one["path"] for one in lineage["ancestors"]] == [str(first.resolve())]
    assert lineage["sessions"] == {"old": 360, "new": 120, "forgotten": 0, "held_out": 12, "trained_on": 108 + 12}
    assert "MRR@20" in updated.before and "not promoted" in str(updated)
    with pytest.raises(UserError, match="holds no finished run"):
        named_run(tmp_path)


def test_a_table_of_items_names_the_new_ones(night, tmp_path):
    folder, days, _, second = night
    (tmp_path / "items.csv").write_text("pid,title,price\nnew3,Third news,2.5\np1,One,0.5\n")
    options = ["--items", str(tmp_path / "items.csv"), "--promote=always", f"--run_dir={tmp_path / 'runs'}", *QUIET]
    assert main(["update", str(second), str(days[3]), *options]) == 0
    (made,) = (path.parent for path in (tmp_path / "runs").rglob("lineage.json"))
    assert Recommender.load(made).titles == {"new3": "Third news", "p1": "One"}
    header = (made / "data" / "shop" / "shop.item").read_text().splitlines()[0]
    assert header == "item_id:token\ttitle:token_seq\tprice:float"
    # Whoever brings no table the next time is not asked for its columns.
    assert main(["update", str(made), str(days[4]), "--promote=never", *options[3:]]) == 0
    assert folder.exists()


def test_worse_is_not_promoted(night, capsys):
    folder, days, _, second = night
    # A rate at which an epoch destroys what was learnt.
    argv = ["update", str(folder / "current"), str(days[3]), "--learning-rate=9", "--holdout=0.5"]
    argv += [*QUIET, f"--run_dir={folder}/bad"]
    assert main(argv) == 1
    assert (folder / "current").resolve() == second.resolve()
    (bad,) = (path.parent for path in (folder / "bad").rglob("lineage.json"))
    assert str(bad) in capsys.readouterr().out
    lineage = lineage_of(bad)
    assert not lineage["promoted"] and lineage["difference"] < 0 and lineage["p"] < 0.05


def test_a_training_free_model_and_a_refit_are_updated(tmp_path):
    days = [write_day(tmp_path / f"day{k}.csv", k) for k in range(3)]
    columns = {"session": "sid", "item": "pid", "time": "ts"}
    prepare([str(day) for day in days[:2]], "shop", tmp_path / "data", min_support=1, **columns)
    argv = ["run", "--model=LastItemKNN", "--dataset=shop", f"--data_path={tmp_path / 'data'}", "--fit=all", *QUIET]
    assert main([*argv, f"--run_dir={tmp_path / 'runs'}", "--metrics=[Hit, MRR, GiniIndex]"]) == 0
    (refitted,) = (path.parent for path in (tmp_path / "runs").rglob("refit.json"))
    updated = update(refitted, days[2], promote="always", threads=1, replay=0.5)
    # Nothing of the first two days was held out of a refit.
    assert updated.lineage["sessions"]["trained_on"] == 108 + 54
    assert next(Recommender.load(updated.run.path).answers([["new2"]], 1)).source == "model"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["day1.csv"], "the new log ends at 2019-10-02"),
        (["day3.csv", "--session=pid", "--item=sid"], "none of the"),
        (["day3.csv", "--item=ts"], "cannot be both of --session, --item and --time"),
        (["day3.csv", "--session=nothing"], "no column 'nothing'"),
        (["missing.csv"], "missing.csv"),
        (["day3.csv", "--promote=maybe"], "promote=maybe must be one of if-better, always, never"),
        (["day3.csv", "--epochs=0"], "epochs=0 must be at least 1"),
        (["day3.csv", "--holdout=1"], "holdout=1.0 must be"),
        (["day3.csv", "--embedding_size=9"], "--embedding_size cannot change in an update"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(night, capsys, words, message):
    folder, *_ = night
    log, *rest = words
    before = sorted(folder.rglob("*"))
    assert main(["update", str(folder / "current"), str(folder / log), *rest]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("error: ") == 1 and "Traceback" not in error
    assert sorted(folder.rglob("*")) == before


def test_onto_another_catalogue(night, tmp_path, capsys):
    _, days, first, _ = night
    other = tmp_path / "run"
    shutil.copytree(first, other)
    lines = (other / "items.txt").read_text().splitlines()
    (other / "items.txt").write_text("\n".join([lines[0], *(f"other{k}" for k in range(len(lines) - 1))]) + "\n")
    assert main(["update", str(other), str(days[3])]) == 2
    assert "belongs to another catalogue" in capsys.readouterr().err


def test_the_old_model_is_measured_as_it_is_served(night):
    """Unknown clicks are left out, unknown items never recommended, sessions without a known item get popularity."""
    from recbole.data.interaction import Interaction

    from recbole_tme.updating.carry import old_rows
    from recbole_tme.updating.served import Served

    _, _, first, second = night
    loaded = loading.load_run(first, {"device": "cpu"})
    new = np.array((second / "items.txt").read_text().split("\n")[:-1])
    rows = old_rows(loaded.data.tokens, new)
    served = Served(loaded.model, loaded.loaders[0].dataset, rows, loaded.config)
    number = {token: k for k, token in enumerate(new)}
    asked = [["p1", "new2", "p2"], ["new2", "new2"]]
    padded = torch.tensor([[number[item] for item in row] + [0] * (3 - len(row)) for row in asked])
    names = served.names
    interaction = Interaction({names.item_list: padded, names.length: torch.tensor([3, 2])})
    scores = served.full_sort_predict(interaction)
    assert scores[:, number["new2"]].isinf().all()
    best = [new[k] for k in scores[0, 1:].topk(5).indices + 1]
    assert best == next(Recommender.load(first).answers([["p1", "p2"]], 5)).items
    popular = next(Recommender.load(first).answers([["unheard of"]], 1))
    assert popular.source == "popularity" and scores[1].max() == scores[1, number[popular.items[0]]]
