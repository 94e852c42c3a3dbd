"""The index: it finds what scoring everything finds, for each model it takes, and is kept safely beside the weights."""

import logging
import sys
import threading

import numpy as np
import pytest
import torch
from helpers.quick_run import MINING, quick_run
from helpers.untrained import SMALL, SMALL_SASREC, untrained

from recbole_tme.cli import main
from recbole_tme.errors import UserError
from recbole_tme.serving import index as index_module
from recbole_tme.serving import index_search
from recbole_tme.serving.index import FILE_NAME, Codes, ItemIndex, encode
from recbole_tme.serving.index_search import IndexedScores
from recbole_tme.serving.recommender import Recommender
from recbole_tme.serving.saved import build_model

pytest.importorskip("faiss", reason="needs the extra: pip install 'recbole_tme[index]'")

CPU = torch.device("cpu")
GRU = SMALL | {"hidden_size": 8}
MODELS = [
    ("TMEGNN", SMALL),
    ("TMEGNNDP", SMALL | {"embedding_size": 9}),
    ("SRGNN", SMALL),
    ("DANSeR", SMALL),
    ("DANSeR", SMALL | {"neighbours": False}),
    ("DANSeR", SMALL | {"neighbours": False, "repeat_explore": False}),
    ("ATSRec", SMALL_SASREC | {"backbone": "recbole:SASRec"}),
    ("recbole:GRU4Rec", GRU),
    ("recbole:NARM", GRU),
    ("recbole:STAMP", SMALL),
]


def sessions(recommender, n=30):
    rng = np.random.default_rng(4)
    some = rng.choice(recommender.items, 12)
    return [rng.choice(some, rng.integers(1, 9)).tolist() for _ in range(n)]


@pytest.mark.parametrize(("model", "settings"), MODELS, ids=str)
@pytest.mark.parametrize("exclude_seen", [False, True])
def test_with_all_items_as_candidates_it_is_exact(tmp_path, monkeypatch, model, settings, exclude_seen):
    """So that whatever it misses elsewhere is for want of candidates."""
    monkeypatch.setattr(index_search, "FEWEST_CANDIDATES", 500)
    saved = untrained(model, tmp_path, 300, **settings)
    exact, indexed = Recommender(saved, CPU), Recommender(saved, CPU, "faiss")
    assert indexed.index.recall > 0.999
    for k in (1, 20, 100):
        asked = sessions(exact)
        for wanted, found in zip(
            exact.answers(asked, k, exclude_seen), indexed.answers(asked, k, exclude_seen), strict=True
        ):
            np.testing.assert_allclose(found.scores, wanted.scores, rtol=1e-4, atol=1e-5)
            assert found.source == "model" and len(set(found.items)) == k
            # Of scores that are equal up to rounding either may come first, or be the last one.
            clear = wanted.scores > wanted.scores[-1] + 1e-4
            assert set(np.array(wanted.items)[clear]) <= set(found.items)


def test_recall_is_what_is_said_and_grows_with_the_candidates(tmp_path):
    saved = untrained("SRGNN", tmp_path, 4000, **SMALL | {"embedding_size": 32})
    exact, indexed = Recommender(saved, CPU), Recommender(saved, CPU, "faiss")
    assert index_search.WANTED_RECALL <= indexed.index.recall <= 1
    asked = sessions(exact, 100)
    wanted = [set(answer.items) for answer in exact.answers(asked, 20)]

    def recall(candidates):
        indexed._search.index.candidates = candidates
        return np.mean([len(best & set(a.items)) / 20 for best, a in zip(wanted, indexed.answers(asked, 20))])

    few, tuned, all_items = (recall(n) for n in (20, indexed.index.candidates, 4000))
    assert few < tuned and tuned > 0.98 and all_items > 0.999


@pytest.mark.parametrize("session", [["i3"], ["i1", "i2", "i1", "i7"], [f"i{i}" for i in (5, 5, 5)]])
def test_a_normalised_model_estimates_its_sum_and_knows_the_session_exactly(tmp_path, monkeypatch, session):
    monkeypatch.setattr(index_search, "SAMPLED_FOR_SUM", 2000)
    saved = untrained("DANSeR", tmp_path, 5000, **SMALL)
    exact, indexed = Recommender(saved, CPU), Recommender(saved, CPU, "faiss")
    (everything,) = exact.answers([session], 5000)
    (found,) = indexed.answers([session], 100)
    wanted = dict(zip(everything.items, everything.scores))
    own = [i for i, item in enumerate(found.items) if item in session]
    others = [i for i, item in enumerate(found.items) if item not in session]
    np.testing.assert_allclose(found.scores[own], [wanted[found.items[i]] for i in own], rtol=1e-4)
    errors = found.scores[others] - [wanted[found.items[i]] for i in others]
    # One error for all of them: that of the logarithm of the sum.
    assert np.ptp(errors) < 1e-4 and 0 < abs(errors.mean()) < 0.1


def test_search_returns_exact_products_of_distinct_items():
    rng = np.random.default_rng(0)
    vectors, queries = rng.standard_normal((500, 7)).astype("f4"), rng.standard_normal((5, 7)).astype("f4")
    codes = encode(vectors)
    index = ItemIndex(vectors, Codes(codes.centroids, codes.codes, candidates=100))
    numbers, products = index.search(queries, 10)
    for query, row, product in zip(queries, numbers, products):
        assert len(set(row)) == 10
        np.testing.assert_allclose(product, vectors[row - 1] @ query, rtol=1e-5)
    best = np.argsort(-queries @ vectors.T, axis=1)[:, :10] + 1
    assert np.mean([len(set(a) & set(b)) for a, b in zip(best, numbers)]) > 9


@pytest.mark.parametrize("n_items", [1, 3, 40])
def test_small_catalogues_work_too(tmp_path, n_items):
    saved = untrained("DANSeR", tmp_path, n_items, **SMALL)
    exact, indexed = Recommender(saved, CPU), Recommender(saved, CPU, "faiss")
    (wanted,), (found,) = (one.answers([["i0", "i0"]], n_items) for one in (exact, indexed))
    np.testing.assert_allclose(found.scores, wanted.scores, rtol=1e-4)


def test_long_lists_do_without_it(tmp_path, monkeypatch):
    saved = untrained("SRGNN", tmp_path, 200, **SMALL)
    exact, indexed = Recommender(saved, CPU), Recommender(saved, CPU, "faiss")
    monkeypatch.setattr(indexed._search, "best", None)
    (wanted,), (found,) = (one.answers([["i5", "i6"]], 101) for one in (exact, indexed))
    assert found.items == wanted.items and np.array_equal(found.scores, wanted.scores)


@pytest.mark.parametrize("model", ["SPop", "VSTAN", "recbole:CORE", "recbole:RepeatNet", "recbole:NextItNet"])
def test_a_model_without_session_vectors_is_refused_in_one_line(tmp_path, model):
    saved = untrained(model, tmp_path, MAX_ITEM_LIST_LENGTH=6)
    with pytest.raises(UserError, match="--index=faiss does not fit") as refused:
        Recommender(saved, CPU, "faiss")
    assert saved.name in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / FILE_NAME).exists()


def test_a_model_of_other_scores_is_refused(tmp_path):
    """What overrides the scores but not their parts is found out by comparison."""
    saved = untrained("SRGNN", tmp_path, **SMALL)
    model = build_model(saved, CPU)
    model.score_catalogue = lambda encoded: type(model).score_catalogue(model, encoded).square()
    with pytest.raises(UserError, match="does not fit SRGNN"):
        IndexedScores(model, saved)


def test_seen_items_beyond_the_most_recent_clicks_are_left_out_too(tmp_path):
    saved = untrained("SRGNN", tmp_path, 60, **SMALL)
    indexed = Recommender(saved, CPU, "faiss")
    session = [f"i{i}" for i in range(30)]
    (answer,) = indexed.answers([session], 30, exclude_seen=True)
    assert sorted(answer.items) == sorted(f"i{i}" for i in range(30, 60))


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    saved = untrained("DANSeR", tmp_path, **SMALL)
    saved.weights["item_embedding.weight"][3] = torch.nan
    with pytest.raises(UserError, match=r"model\.safetensors"):
        Recommender(saved, CPU, "faiss")


def test_an_index_of_another_kind_is_refused(tmp_path):
    with pytest.raises(UserError, match="'annoy'"):
        Recommender(untrained("SRGNN", tmp_path, **SMALL), CPU, "annoy")


def test_faiss_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match=r"faiss.*pip install .*\[index\]"):
        Recommender(untrained("SRGNN", tmp_path, **SMALL), CPU, "faiss")


def answers(recommender):
    return [(a.items, a.scores.tolist()) for a in recommender.answers(sessions(recommender), 7)]


def test_it_is_made_once_and_read_again(tmp_path, monkeypatch):
    saved = untrained("TMEGNN", tmp_path, 500, **SMALL)
    first = Recommender(saved, CPU, "faiss")
    assert first.index.is_new and (tmp_path / FILE_NAME).is_file()
    monkeypatch.setattr(index_search, "encode", None)
    second = Recommender(saved, CPU, "faiss")
    assert not second.index.is_new and second.index[:2] == first.index[:2]
    assert answers(second) == answers(first)


def test_other_weights_get_another_one(tmp_path):
    old = Recommender(untrained("TMEGNN", tmp_path, 500, **SMALL), CPU, "faiss")
    before = answers(old)
    new = Recommender(untrained("TMEGNN", tmp_path, 500, seed=1, **SMALL), CPU, "faiss")
    assert new.index.is_new and answers(new) != before


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "foreign"])
def test_a_damaged_file_is_made_anew(tmp_path, caplog, damage):
    saved = untrained("TMEGNN", tmp_path, 500, **SMALL)
    wanted, file = answers(Recommender(saved, CPU, "faiss")), tmp_path / FILE_NAME
    content = bytearray(file.read_bytes())
    content[-1] ^= 255
    damaged = {"cut": content[:-40], "flip": content, "empty": b"", "foreign": saved.weights_file.read_bytes()}
    file.write_bytes(damaged[damage])
    with caplog.at_level(logging.WARNING):
        again = Recommender(saved, CPU, "faiss")
    assert again.index.is_new and answers(again) == wanted and FILE_NAME in caplog.text
    assert not Recommender(saved, CPU, "faiss").index.is_new


def test_where_nothing_can_be_written_it_stays_in_memory(tmp_path, monkeypatch, caplog):
    def refuse(path, content):
        raise UserError(f"cannot write {path}: Read-only file system")

    monkeypatch.setattr(index_module, "write_atomically", refuse)
    with caplog.at_level(logging.WARNING):
        one = Recommender(untrained("SRGNN", tmp_path, **SMALL), CPU, "faiss")
    assert one.index.is_new and "Read-only" in caplog.text and not (tmp_path / FILE_NAME).exists()


def test_many_may_make_it_at_once(tmp_path):
    saved = untrained("SRGNN", tmp_path, 500, **SMALL)
    made, wanted = [], answers(Recommender(saved, CPU, "faiss"))
    (tmp_path / FILE_NAME).unlink()
    threads = [threading.Thread(target=lambda: made.append(Recommender(saved, CPU, "faiss"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answers(one) for one in made] == [wanted] * 4
    assert not Recommender(saved, CPU, "faiss").index.is_new
    assert sorted(file.name for file in tmp_path.iterdir()) == [FILE_NAME, "model.safetensors"]


def test_threads_share_it(tmp_path):
    one = Recommender(untrained("DANSeR", tmp_path, 500, **SMALL), CPU, "faiss")
    wanted, found = answers(one), []
    threads = [threading.Thread(target=lambda: found.append(answers(one))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 4


def test_the_command_says_its_recall_when_it_makes_it(tmp_path, capsys):
    run = quick_run(tmp_path, "TMEGNN", **MINING).path
    shown = []
    for extra in ([], ["--index=faiss"], ["--index=faiss"]):
        item = Recommender.load(run).items[0]
        assert main(["recommend", str(run), f"--input={write(tmp_path, item)}", "-k3", *extra]) == 0
        shown.append(capsys.readouterr())
    assert "recall@20" in shown[1].err and "recall@20" not in shown[0].err + shown[2].err
    columns = [[row.rsplit(",", 2)[0] for row in one.out.splitlines()] for one in shown]
    assert columns[0] == columns[1] == columns[2]


def write(folder, item):
    (folder / "asked.csv").write_text(f'session,item\n1,"{item}"\n', encoding="utf-8")
    return folder / "asked.csv"
