"""Features of items: from words, words of one piece, numbers and vectors of a file; and what is refused."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recbole_tme.data.item_features import item_features
from recbole_tme.data.items import ItemColumn
from recbole_tme.data.synthetic import toy
from recbole_tme.errors import UserError

ITEMS = [str(token) for token in toy().tokens[1:]]


def shop():
    kinds = {item: ("red shoe", "blue shoe", "red hat", "blue hat")[k % 4] for k, item in enumerate(ITEMS)}
    columns = {
        "category": ItemColumn("token", {item: kind.split()[1] for item, kind in kinds.items()}),
        "price": ItemColumn("float", {item: str(1.5 * k) for k, item in enumerate(ITEMS)}),
    }
    return replace(toy(), titles={item: f"{kind} no{item}" for item, kind in kinds.items()}, item_columns=columns)


def cosines(features, first, others):
    return features[others] @ features[first] / np.linalg.norm(features[others], axis=1)


def test_items_with_more_words_in_common_are_nearer():
    features = item_features(shop(), "title", None, 8).table
    assert features.shape == (len(ITEMS) + 1, 8) and features.dtype == np.float32 and (features[0] == 0).all()
    same, half, none = cosines(features, 1, [5, 2, 4])
    assert same > 0.99 and same > half > none + 0.1


def test_numbers_are_near_where_their_classes_are_one():
    features = item_features(shop(), ["price"], None, 16).table
    near, far = cosines(features, 1, [2, 70])
    assert near > 0.99 and abs(far) < 0.01


def test_all_columns_and_unknown_ones():
    data = shop()
    assert not np.allclose(item_features(data, "all", None, 8).table, item_features(data, "title", None, 8).table)
    with pytest.raises(UserError, match=r"no column 'categry' of items; did you mean 'category'\?|categry"):
        item_features(data, "categry", None, 8)
    with pytest.raises(UserError, match="nothing is known of the items"):
        item_features(toy(), "all", None, 8)
    with pytest.raises(UserError, match="prepare it with --items"):
        item_features(toy(), "title", None, 8)
    with pytest.raises(UserError, match="no two items share a word"):
        lonely = replace(toy(), titles={item: f"w{item}" for item in ITEMS})
        item_features(lonely, "title", None, 8)


def test_items_of_which_nothing_is_known_are_zero():
    data = shop()
    data = replace(data, titles={item: data.titles[item] for item in ITEMS[:40]})
    features = item_features(data, "title", None, 8).table
    assert features[1:41].any(1).all() and not features[41:].any()


@pytest.mark.parametrize("form", ["npy", "parquet"])
def test_vectors_of_a_file_go_by_id(tmp_path, form):
    vectors = np.random.default_rng(0).normal(size=(len(ITEMS) + 1, 5))
    ids = ["another", *ITEMS[::-1]]
    path = tmp_path / f"vectors.{form}"
    if form == "npy":
        np.save(path, vectors)
        (tmp_path / "vectors.txt").write_text("\n".join(ids) + "\n")
    else:
        pq.write_table(pa.table({"id": ids, "vector": vectors.tolist()}), path)
    features = item_features(toy(), None, str(path), 8).table
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(features[1:, :5], unit[:0:-1], atol=1e-6)
    # Longer ones are reduced, and both parts together.
    assert item_features(toy(), None, str(path), 3).table.shape == (len(ITEMS) + 1, 3)
    assert item_features(shop(), "title", str(path), 6).table.any(1)[1:].all()


@pytest.mark.parametrize(
    ("ids", "vectors", "message"),
    [
        (ITEMS[:2], [[1.0, 2.0], [3.0]], "has 1 numbers, that of"),
        (["x", "y"], [[1.0], [2.0]], "knows none of the 80 items"),
        (ITEMS[:2], [[1.0], [float("nan")]], f"the vector of '{ITEMS[1]}' is not finite"),
        (ITEMS[:2], [["a"], ["b"]], "holds no numbers"),
    ],
)
def test_bad_vectors(tmp_path, ids, vectors, message):
    path = tmp_path / "vectors.parquet"
    pq.write_table(pa.table({"id": ids, "vector": vectors}), path)
    with pytest.raises(UserError, match=message):
        item_features(toy(), None, str(path), 8)


def test_files_that_are_no_vectors(tmp_path):
    (tmp_path / "text.parquet").write_text("nothing")
    np.save(tmp_path / "alone.npy", np.zeros((2, 2)))
    np.save(tmp_path / "short.npy", np.zeros((2, 2)))
    (tmp_path / "short.txt").write_text("1\n")
    pq.write_table(pa.table({"id": ["1"]}), tmp_path / "ids.parquet")
    for name, message in {
        "text.parquet": "not a readable Parquet file",
        "missing.parquet": "missing.parquet",
        "alone.npy": "alone.txt",
        "short.npy": "for 1 ids",
        "ids.parquet": "one column of ids and one of lists",
    }.items():
        with pytest.raises(UserError, match=message):
            item_features(toy(), None, str(tmp_path / name), 8)
