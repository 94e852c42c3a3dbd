"""Items that nobody has clicked: a trained model recommends them by their content, in every place that asks it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from recbole_tme import Recommender, UserError, export_vectors
from recbole_tme.cli import main
from recbole_tme.config.load import load_config
from recbole_tme.data.items import ItemColumn
from recbole_tme.data.readers.atomic import write_dataset
from recbole_tme.data.synthetic import toy
from recbole_tme.experiment.run import run
from recbole_tme.serving.bundle import read_saved
from recbole_tme.serving.new_items import with_new_items
from recbole_tme.serving.spread import Loading, _answer_anew

SMALL = {"epochs": 1, "device": "cpu", "show_progress": False, "embedding_size": 8, "content_size": 12}
COLOURS = ("red", "blue", "green", "grey")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A function that trains a model on a shop, and the shop: titles of colours, and prices."""
    folder = tmp_path_factory.mktemp("shop")
    data = toy(n_sessions=300)
    items = [str(token) for token in data.tokens[1:]]
    titles = {item: f"{COLOURS[k % 4]} shoe" for k, item in enumerate(items)}
    prices = ItemColumn("float", {item: str(1.5 * k) for k, item in enumerate(items)})
    data = replace(data, name="shop", titles=titles, item_columns={"price": prices})
    write_dataset(folder, data, {})
    rng = np.random.default_rng(0)
    np.save(folder / "vectors.npy", rng.normal(size=(len(items), 5)))
    (folder / "vectors.txt").write_text("\n".join(items) + "\n")
    places = {"data_path": str(folder), "run_dir": str(folder / "runs")}
    kept = {}

    def trained(model="SRGNN", **settings):
        key = (model, *settings.items())
        if key not in kept:
            kept[key] = run(load_config(model, "shop", config_dict=SMALL | places | settings)).path
        return kept[key]

    return trained, folder, items


@pytest.fixture
def table(tmp_path, made):
    """A catalogue of two known items, three new ones that can be described and one that cannot."""
    known = made[2][:2]
    rows = [f"{item},red shoe,1.0" for item in known]
    rows += ["n1,Red shoe,0.0", "n2,blue shoe,1000", "n3,green,", "n4,unheard,"]
    (tmp_path / "products.csv").write_text("item_id,title,price\n" + "\n".join(rows) + "\n")
    return tmp_path / "products.csv"


@pytest.mark.parametrize("model", ["SRGNN", "TMEGNN", "TMEGNNDP", "DANSeR"])
def test_new_items_are_recommended_and_known_ones_keep_their_scores(made, table, model):
    run_path = made[0](model, item_content="all")
    before = Recommender.load(run_path)
    after = Recommender.load(run_path, new_items=table)
    assert after.items == [*before.items, "n1", "n2", "n3"] and after.new_items == 3
    assert after.titles["n1"] == "Red shoe" and (after.clicks[-3:] == 0).all()
    session, n = [before.items[0], before.items[5]], len(before.items)
    (old,), (new,) = before.answers([session], n), after.answers([session], n + 3)
    assert set(new.items) == set(after.items)
    order = [item for item in new.items if item not in ("n1", "n2", "n3")]
    ranks = {item: score for item, score in zip(old.items, old.scores)}
    in_old = np.array([ranks[item] for item in order])
    # DANSeR's are logs of chances, which new items take some of; the order stays.
    assert (np.diff(in_old) <= 1e-4).all()
    # A click on a new item counts.
    (clicked,) = after.answers([["n1"]], 3)
    assert clicked.source == "model" and clicked.unknown == []


def test_a_new_item_that_is_described_as_a_known_one_has_the_vector_of_its_content(made, tmp_path):
    run_path, first = made[0](item_content="all"), made[2][0]
    (tmp_path / "twin.csv").write_text("item_id,title,price\ntwin,red shoe,0.0\n")
    saved = with_new_items(read_saved(run_path), [tmp_path / "twin.csv"])
    features = saved.weights["item_embedding.parametrizations.weight.0.features"]
    row = saved.items.ids.index(first) + 1
    torch.testing.assert_close(features[-1], features[row], atol=1e-5, rtol=1e-5)
    assert not saved.weights["item_embedding.parametrizations.weight.0.is_trained"][-1]


def test_vectors_of_a_file_describe_new_items_too(made, tmp_path):
    _, folder, items = made
    run_path = made[0](item_vectors=str(folder / "vectors.npy"))
    np.save(tmp_path / "more.npy", np.load(folder / "vectors.npy")[:1])
    (tmp_path / "more.txt").write_text("twin\n")
    saved = with_new_items(read_saved(run_path), [tmp_path / "more.npy"])
    features = saved.weights["item_embedding.parametrizations.weight.0.features"]
    torch.testing.assert_close(features[-1], features[saved.items.ids.index(items[0]) + 1], atol=1e-6, rtol=1e-5)


def test_bundles_vectors_and_the_index_hold_them(made, table, tmp_path, capsys):
    run_path = made[0](item_content="all")
    assert main(["bundle", str(run_path), f"--out={tmp_path / 'bundle'}", f"--new-items={table}"]) == 0
    assert "3 new items by their content" in capsys.readouterr().err
    (wanted,) = Recommender.load(run_path, new_items=[table]).answers([["n1"]], 10)
    (found,) = Recommender.load(tmp_path / "bundle").answers([["n1"]], 10)
    assert found.items == wanted.items and np.allclose(found.scores, wanted.scores)
    assert list(export_vectors(run_path, new_items=[table]).index[-3:]) == ["n1", "n2", "n3"]
    assert main(["recommend", str(run_path), "--session=n1", "-k=3", f"--new-items={table}"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_the_index_of_the_items_in_the_weights_stays(made, table):
    pytest.importorskip("faiss", reason="needs faiss, the extra index")
    run_path = made[0]("TMEGNN", item_content="all")
    Recommender.load(run_path, index="faiss")
    kept = (run_path / "index.safetensors").read_bytes()
    grown = Recommender.load(run_path, index="faiss", new_items=table)
    assert (run_path / "index.safetensors").read_bytes() == kept
    exact = Recommender.load(run_path, new_items=table)
    (found,), (wanted,) = grown.answers([["n1", "n2"]], 5), exact.answers([["n1", "n2"]], 5)
    assert found.items == wanted.items


def test_nothing_new_changes_nothing(made, tmp_path):
    run_path = made[0](item_content="all")
    (tmp_path / "known.csv").write_text(f"item_id,title,price\n{made[2][0]},red,1\n")
    saved = read_saved(run_path)
    assert with_new_items(saved, [tmp_path / "known.csv"]).items is saved.items


@pytest.mark.parametrize(
    ("settings", "files", "message"),
    [
        ({}, {"a.csv": "item_id,title\nx,red\n"}, "trained without the content of items"),
        ({"item_content": "all"}, {"a.csv": "item_id,titel\nx,red\n"}, "no column 'title'; did you mean titel"),
        ({"item_content": "all"}, {"a.csv": "item_id,title,price\nx,red,dear\n"}, "column price: item 'x' has 'dear'"),
        ({"item_content": "all"}, {"a.csv": "title,price\nred,1\n"}, "no column 'item_id'"),
        ({"item_content": "all"}, {"a.npy": [[1.0, 2.0]], "a.txt": "x\n"}, "the model was trained without"),
        ({"item_vectors": None}, {"a.npy": [[1.0, 2.0]], "a.txt": "x\n"}, "vectors have 2 numbers, .* trained with 5"),
        ({"item_vectors": None}, {"a.csv": "item_id,title\nx,red\n"}, "is no file of vectors"),
        ({"item_content": "all"}, {}, "a.csv"),
    ],
)
def test_refused_in_one_line(made, tmp_path, capsys, settings, files, message):
    trained, folder, _ = made
    settings = {key: str(folder / "vectors.npy") if value is None else value for key, value in settings.items()}
    for name, content in files.items():
        if isinstance(content, str):
            (tmp_path / name).write_text(content)
        else:
            np.save(tmp_path / name, np.array(content))
    given = tmp_path / next(iter(files), "a.csv")
    run_path, out = trained(**settings), tmp_path / "bundle"
    with pytest.raises(UserError, match=message):
        Recommender.load(run_path, new_items=given)
    capsys.readouterr()
    assert main(["bundle", str(run_path), f"--out={out}", f"--new-items={given}"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1 and not out.exists()


def test_a_server_answers_with_them(made, table):
    testclient = pytest.importorskip("fastapi.testclient", reason="needs FastAPI, the extra serve")
    pytest.importorskip("prometheus_client", reason="needs prometheus-client, the extra serve")
    from recbole_tme.serving.server.app import make_app
    from recbole_tme.serving.server.models import Models, Served

    run_path = made[0](item_content="all")
    served = Served("default", run_path, lambda path: Recommender.load(path, new_items=table), [table])
    with testclient.TestClient(make_app(Models([served]))) as client:
        found = client.post("/recommend", json={"session": ["n1"], "k": 5}).json()
        assert found["source"] == "model" and not found.get("unknown")
    table.write_text(table.read_text() + "n5,grey,1\n")
    assert served.has_changed() and served.reload() and "n5" in served.now.recommender.items
    table.write_text("item_id\nx\n")
    assert not served.reload() and "n5" in served.now.recommender.items and "title" in served.error


def test_processes_of_a_cluster_load_them_too(made, table):
    loading = Loading(made[0](item_content="all"), new_items=(table,))
    (answer,) = _answer_anew(loading, [["n1"]], 3)
    assert answer.source == "model" and answer.unknown == []


def test_serve_says_how_many_there_are(made, table, monkeypatch, capsys):
    pytest.importorskip("uvicorn", reason="needs uvicorn, the extra serve")
    pytest.importorskip("prometheus_client", reason="needs prometheus-client, the extra serve")
    from recbole_tme.serving.server import serve as serving

    ready = []
    monkeypatch.setattr(serving, "serve", lambda app, listener, say: (say(), ready.append(True)))
    assert main(["serve", str(made[0](item_content="all")), "--port=0", f"--new-items={table}"]) == 0
    assert ready and "SRGNN: 3 new items by their content" in capsys.readouterr().err
