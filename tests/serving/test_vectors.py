"""Item vectors out of a run: the same in every form, in the order of the ids, with titles."""

import csv

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.quick_run import quick_run
from safetensors.numpy import load_file

from recbole_tme import UserError, export_vectors, load_run
from recbole_tme.cli import main
from recbole_tme.serving.bundle import read_saved
from recbole_tme.serving.vectors import item_vectors


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return quick_run(tmp_path_factory.mktemp("run"), "recbole:GRU4Rec", embedding_size=8, hidden_size=8)


def test_every_form_holds_the_trained_rows_by_id(finished, tmp_path):
    saved = read_saved(finished.path)
    weights = load_file(finished.model_file)["item_embedding.weight"]
    vectors = item_vectors(saved)
    assert np.array_equal(vectors, weights[1 : len(saved.items.ids) + 1])
    for ending in ("parquet", "csv", "npy", "tsv"):
        out = tmp_path / f"items.{ending}"
        assert main(["export", str(finished.path), "--format=vectors", f"--out={out}"]) == 0
    titles = [saved.items.titles.get(item, "") for item in saved.items.ids]
    table = pq.read_table(tmp_path / "items.parquet").to_pydict()
    assert table["item"] == list(saved.items.ids) and table["title"] == titles and any(titles)
    assert np.array_equal(np.array(table["vector"], np.float32), vectors)
    with open(tmp_path / "items.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows[1:]] == list(saved.items.ids)
    assert np.array_equal(np.array([row[2:] for row in rows[1:]], np.float32), vectors)
    assert np.array_equal(np.load(tmp_path / "items.npy"), vectors)
    assert np.array_equal(np.loadtxt(tmp_path / "items.tsv", dtype=np.float32, delimiter="\t"), vectors)
    assert (tmp_path / "items.metadata.tsv").read_text(encoding="utf-8").count("\n") == 1 + len(titles)


def test_in_python(finished, tmp_path):
    run = load_run(finished.path)
    vectors = export_vectors(run, tmp_path / "items.npy")
    assert np.array_equal(vectors.to_numpy(), item_vectors(read_saved(finished.path)))
    assert np.array_equal(np.load(tmp_path / "items.npy"), vectors.to_numpy())
    assert list(vectors.index) == run.recommender.items and vectors.index.name == "item"
    assert export_vectors(str(finished.path)).equals(vectors)
    with pytest.raises(UserError, match="exists already"):
        export_vectors(run, tmp_path / "items.npy")


@pytest.mark.parametrize(("name", "word"), [("items.txt", ".parquet"), ("there.csv", "exists already")])
def test_bad_files_are_refused(finished, tmp_path, name, word, capsys):
    (tmp_path / "there.csv").write_text("")
    assert main(["export", str(finished.path), "--format=vectors", f"--out={tmp_path / name}"]) == 2
    assert word in capsys.readouterr().err


def test_a_model_without_vectors_says_so(tmp_path, capsys):
    run = quick_run(tmp_path, "SPop")
    assert main(["export", str(run.path), "--format=vectors", f"--out={tmp_path / 'x.csv'}"]) == 2
    assert "has no item vectors" in capsys.readouterr().err
