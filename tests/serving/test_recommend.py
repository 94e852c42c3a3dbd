"""From a trained run to recommendations in external ids: the model's own scores, whoever asks and however."""

import json
import logging
import shutil
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.quick_run import MINING, quick_run
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_tme.config.load import load_config
from recbole_tme.errors import UserError
from recbole_tme.experiment.loading import load_run
from recbole_tme.models import registry
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.runs.itemlist import ItemList
from recbole_tme.serving.bundle import write_bundle
from recbole_tme.serving.recommender import Recommender

SMALL = {"n_layers": 1, "n_heads": 1, "hidden_size": 16, "inner_size": 16}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> RunDirectory:
    return quick_run(tmp_path_factory.mktemp("recommend"), "TMEGNN", **MINING)


@pytest.fixture(scope="module")
def recommender(finished) -> Recommender:
    return Recommender.load(finished.path)


@pytest.mark.parametrize(
    ("model", "given_settings"),
    [
        ("TMEGNN", MINING),
        ("TMEGNNDP", MINING),
        ("DANSeR", {"embedding_size": 8}),
        ("SRGNN", {"embedding_size": 8}),
        ("ATSRec", {"backbone": "recbole:SASRec"} | SMALL),
        ("ATSRec", {"backbone": "SRGNN", "embedding_size": 8}),
        ("SPop", {}),
        ("SPopSTAN", {}),
        ("OwnItems", {}),
        ("VSTAN", {"retrain": True}),
        ("SR", {}),
        ("LastItemKNN", {}),
        ("recbole:SRGNN", {"embedding_size": 8}),
        ("recbole:SASRec", SMALL),
        ("recbole:GRU4Rec", {"embedding_size": 8, "hidden_size": 8}),
        ("recbole:CORE", {"n_layers": 1, "n_heads": 1, "inner_size": 16, "embedding_size": 16}),
    ],
)
def test_scores_are_those_of_full_sort_predict(tmp_path, model, given_settings):
    directory = quick_run(tmp_path, model, **given_settings)
    _, data, original, loaders = load_run(directory.path)
    batch = next(iter(loaders[2]))[0]
    with torch.no_grad():
        wanted = original.full_sort_predict(batch).view(len(batch), -1)[:, 1:].numpy()
    clicks, lengths = batch["item_id_list"].tolist(), batch["item_length"].tolist()
    sessions = [[data.tokens[i] for i in row[:length]] for row, length in zip(clicks, lengths)]
    shutil.rmtree(tmp_path / "data")
    write_bundle(directory.path, tmp_path / "bundle")
    for path in (directory.path, tmp_path / "bundle"):
        table = Recommender.load(path).recommend(sessions, k=wanted.shape[1])
        assert set(table["source"]) == {"model"}
        number = {item: i for i, item in enumerate(data.tokens[1:])}
        found = np.full(wanted.shape, np.nan)
        found[table["session"] - 1, table["item"].map(number)] = table["score"]
        assert np.array_equal(found, wanted.astype(np.float64))
        order = table.sort_values(["session", "score"], ascending=[True, False], kind="stable")
        assert order.index.tolist() == list(range(len(table)))
        assert table["rank"].tolist() == list(range(1, wanted.shape[1] + 1)) * len(wanted)


def some_sessions(recommender) -> list[list[str]]:
    rng = np.random.default_rng(3)
    return [rng.choice(recommender.items, length).tolist() for length in (1, 2, 3, 5, 9, 9, 30)]


def test_the_columns_are_those_that_are_promised(recommender):
    table = recommender.recommend(some_sessions(recommender), k=3)
    assert list(table.columns) == ["session", "rank", "item", "title", "score", "source"]
    assert len(table) == 7 * 3 and set(table["item"]) <= set(recommender.items)
    assert recommender.recommend([], k=3).empty


def test_alone_and_together_and_in_small_batches_is_the_same(recommender, monkeypatch):
    sessions = some_sessions(recommender)
    together = recommender.recommend(sessions, k=5)
    for number, session in enumerate(sessions, start=1):
        alone = recommender.recommend([session], k=5)
        row = together[together["session"] == number]
        assert alone["item"].tolist() == row["item"].tolist()
        np.testing.assert_allclose(alone["score"], row["score"], rtol=1e-5)
    monkeypatch.setattr(recommender, "batch_size", 2)
    table = recommender.recommend(iter(sessions), k=5)
    assert table["item"].tolist() == together["item"].tolist()


def test_one_session_several_and_a_frame_of_clicks_are_the_same_question(recommender):
    sessions = some_sessions(recommender)[:3]
    wanted = recommender.recommend(sessions, k=4)
    assert sorted(set(wanted["session"])) == [1, 2, 3]
    one = recommender.recommend(sessions[1], k=4)
    assert one["item"].tolist() == wanted[wanted["session"] == 2]["item"].tolist() and set(one["session"]) == {1}
    rows = [
        (f"s{i}", item, place) for place in range(3) for i, items in enumerate(sessions) for item in items[place:][:1]
    ]
    frame = pd.DataFrame(rows, columns=["visit", "product", "time"]).sample(frac=1, random_state=1)
    found = recommender.recommend(frame, k=4, session="visit", item="product")
    for i in range(3):
        assert (
            found[found["session"] == f"s{i}"]["item"].tolist() == wanted[wanted["session"] == i + 1]["item"].tolist()
        )
    with pytest.raises(UserError, match="session_id or session or SessionId among visit, product, time"):
        recommender.recommend(frame, k=4)


def test_threads_get_what_one_thread_gets(recommender):
    sessions = some_sessions(recommender)
    wanted = [recommender.recommend([session], k=5) for session in sessions]
    wrong = []

    def ask(start):
        for i in range(20):
            number = (start + i) % len(sessions)
            if not recommender.recommend([sessions[number]], k=5).equals(wanted[number]):
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_model_is_asked_by_one_thread_at_a_time(finished, monkeypatch):
    """Models may keep things in attributes during a forward pass."""
    one = Recommender.load(finished.path)
    inside, most, original = [], [], one.model.full_sort_predict

    def watched(interaction):
        inside.append(1)
        most.append(len(inside))
        threading.Event().wait(0.01)
        inside.pop()
        return original(interaction)

    monkeypatch.setattr(one.model, "full_sort_predict", watched)
    threads = [threading.Thread(target=one.recommend, args=([[one.items[0]]],)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 5


@pytest.mark.parametrize("index", [None, "faiss"])
def test_it_computes_on_the_calling_thread_alone_and_leaves_the_others_their_threads(finished, index):
    if index:
        pytest.importorskip("faiss", reason="needs faiss, the extra index")
    one, threads = Recommender.load(finished.path, index=index), set()
    one.model.item_embedding.register_forward_pre_hook(lambda *_: threads.add(torch.get_num_threads()))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        list(one.answers([one.items[:2]] * 40))
        one.explain(one.items[:2])
        assert threads == {1} and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_unknown_clicks_are_as_if_they_were_not_there(recommender, data):
    known = data.draw(st.lists(st.sampled_from(recommender.items), min_size=1, max_size=8))
    mixed = list(known)
    strangers = data.draw(st.lists(st.integers(0, 9).map(lambda i: f"stranger {i}"), max_size=4))
    places = sorted(data.draw(st.integers(0, len(known))) for _ in strangers)
    for place, stranger in reversed(list(zip(places, strangers))):
        mixed.insert(place, stranger)
    (wanted,) = recommender.answers([known], 5)
    (found,) = recommender.answers([mixed], 5)
    assert found.items == wanted.items and np.array_equal(found.scores, wanted.scores)
    assert found.unknown == strangers and found.source == "model"


def test_nothing_known_gets_popularity_and_says_so(finished, recommender, caplog):
    data = load_run(finished.path).data
    counts = np.bincount(data.train.items, minlength=len(data.tokens))[1:]
    order = sorted(range(len(counts)), key=lambda i: (-counts[i], i))[:6]
    with caplog.at_level(logging.WARNING):
        table = recommender.recommend([[], ["zz", None], [recommender.items[0]]], k=6)
    for session in (1, 2):
        rows = table[table["session"] == session]
        assert rows["item"].tolist() == [data.tokens[1 + i] for i in order]
        assert rows["score"].tolist() == counts[order].tolist()
        assert set(rows["source"]) == {"popularity"}
    assert set(table[table["session"] == 3]["source"]) == {"model"}
    (record,) = caplog.records
    assert "2 of 3" in record.getMessage() and "'zz'" in record.getMessage()


def test_known_sessions_log_nothing(recommender, caplog):
    recommender.recommend([[recommender.items[0]]])
    assert not caplog.records


def test_the_most_recent_clicks_of_a_long_session_count(finished, recommender):
    most = load_config(None, None, [finished.config_file])["MAX_ITEM_LIST_LENGTH"]
    rng = np.random.default_rng(0)
    session = rng.choice(recommender.items, most + 25).tolist()
    whole, recent = recommender.recommend([session], k=9), recommender.recommend([session[-most:]], k=9)
    assert whole.equals(recent)
    assert not whole.equals(recommender.recommend([session[:most]], k=9))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_exclude_seen_leaves_the_rest_in_order(recommender, data):
    size = len(recommender.items)
    session = data.draw(st.lists(st.sampled_from(recommender.items), min_size=1, max_size=12))
    k = data.draw(st.integers(1, size))
    (everything,) = recommender.answers([session], size)
    (rest,) = recommender.answers([session], k, exclude_seen=True)
    assert rest.items == [item for item in everything.items if item not in session][:k]


def test_ties_go_to_the_earlier_item(tmp_path):
    """OwnItems scores all others 0: a top-k that picks any of them would differ from run to run."""
    one = Recommender.load(quick_run(tmp_path, "OwnItems").path)
    clicked = one.items[40]
    (answer,) = one.answers([[clicked]], 5)
    by_score = dict(zip(answer.items, answer.scores))
    assert answer.items[0] == clicked
    (everything,) = one.answers([[clicked]], len(one.items))
    assert answer.items == everything.items[:5]
    number = {item: i for i, item in enumerate(one.items)}
    for better, worse in zip(answer.items[1:], answer.items[2:]):
        assert by_score[better] > by_score[worse] or number[better] < number[worse]


def test_loading_leaves_the_random_generators_alone(finished):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    Recommender.load(finished.path)
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize("k", [0, -1, 10_000, 2.5, True])
def test_an_impossible_k_is_refused(recommender, k):
    with pytest.raises(UserError, match=r"^k: .* from 1 to "):
        recommender.recommend([], k=k)


@pytest.mark.parametrize("sessions", ["A B", [["A"], "B"], 7])
def test_a_text_in_the_place_of_a_list_is_refused(recommender, sessions):
    with pytest.raises(UserError, match="list"):
        recommender.recommend(sessions)


def test_scores_that_are_no_numbers_are_refused(finished):
    one = Recommender.load(finished.path)
    with torch.no_grad():
        one.model.item_embedding.weight[1] = torch.nan
    with pytest.raises(UserError, match="NaN"):
        one.recommend([[one.items[0]]])


def test_a_device_that_is_not_there_is_refused(finished):
    with pytest.raises(UserError, match="device"):
        Recommender.load(finished.path, device="tpu")


def test_a_model_that_needs_its_data_set_says_so(tmp_path):
    plugin = tmp_path / "needy.py"
    plugin.write_text(
        "from recbole_tme.models.srgnn import SRGNN\n"
        "class Needy(SRGNN):\n"
        "    def __init__(self, config, dataset):\n"
        "        super().__init__(config, dataset)\n"
        "        self.n_rows = len(dataset.inter_feat)\n"
    )
    registry.load_plugin(plugin)
    directory = quick_run(tmp_path, "Needy", embedding_size=8)
    with pytest.raises(UserError, match=r"Needy .*inter_feat"):
        Recommender.load(directory.path)


@pytest.mark.parametrize("broken", ["metrics.json", "config.yaml", "catalogue.json", "model.safetensors"])
def test_a_run_without_one_of_its_files_is_refused_by_name(finished, tmp_path, broken):
    copied = shutil.copytree(finished.path, tmp_path / "run")
    (copied / broken).unlink()
    with pytest.raises(UserError, match=broken):
        Recommender.load(copied)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"items": ["a"], "clicks": [1, 2], "titles": {}}'])
def test_a_broken_item_list_is_refused_by_name(tmp_path, content):
    file = tmp_path / "catalogue.json"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"catalogue\.json"):
        ItemList.read(file)


def test_item_list_round_trip(tmp_path):
    ids = ["a,b", 'c"d', "e\u2028f", " ", "7", "\r"]
    items = ItemList(ids, np.arange(6), {"7": "seven"})
    items.write(tmp_path / "list")
    again = ItemList.read(tmp_path / "list")
    assert (again.ids, again.clicks.tolist(), again.titles) == (ids, list(range(6)), {"7": "seven"})
    assert json.loads((tmp_path / "list").read_text())["items"] == ids
