"""Bad click logs, folders and options of ``prepare``: one clear line each, and nothing written."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.expecting import fails

from recbole_tme.data.prepare import prepare
from recbole_tme.errors import UserError

CLICKS = "session_id:token\titem_id:token\ttimestamp:float\n1\ta\t1\n1\tb\t2\n"


# Click logs: (name, file name, content, options, line, words).
LOG_CASES = [
    ("no time column", "x.csv", "session_id,item_id\n1,a\n", {}, None, ["'timestamp'", "--time", "--file-order"]),
    (
        "misspelt column",
        "x.csv",
        "sesion_id,item_id,timestamp\n1,a,1\n",
        {},
        None,
        ["'session_id'", "did you mean sesion_id?"],
    ),
    ("no item column", "x.csv", "session_id,product,timestamp\n1,a,1\n", {}, None, ["'item_id'", "--item", "product"]),
    ("time that is text", "x.csv", "session_id,item_id,timestamp\n1,a,1\n1,b,noon\n", {}, 3, ["'noon'"]),
    ("time NaN", "x.csv", "session_id,item_id,timestamp\n1,a,1\n1,b,nan\n", {}, 3, ["nan", "finite"]),
    ("time empty", "x.csv", "session_id,item_id,timestamp\n1,a,1\n1,b,2\n1,c,\n", {}, 4, ["''"]),
    ("dates and numbers", "x.csv", "session_id,item_id,timestamp\n1,a,2014-04-07T10:51:09\n1,b,5\n", {}, 3, ["'5'"]),
    ("empty item", "x.csv", "session_id,item_id,timestamp\n1,a,1\n1,,2\n", {}, 3, ["empty item_id"]),
    ("empty session", "x.csv", "session_id,item_id,timestamp\n1,a,1\n,b,2\n", {}, 3, ["empty session_id"]),
    ("empty item in quotes", "x.csv", 'session_id,item_id,timestamp\n1,a,1\n1,"",2\n', {}, 3, ["empty item_id"]),
    ("too few fields", "x.csv", "session_id,item_id,timestamp\n1,a,1\n1,b\n", {}, 3, ["2 fields"]),
    ("header alone", "x.csv", "session_id,item_id,timestamp\n", {}, None, ["no rows"]),
    ("empty", "x.csv", "", {}, None, ["empty"]),
    ("not UTF-8", "x.tsv", b"session_id\titem_id\ttimestamp\n1\t\xff\t1\n", {}, 2, ["UTF-8"]),
    ("wrong number of names", "x.dat", "1,a,1\n", {"columns": ("session_id", "item_id")}, 1, ["2 fields"]),
    ("time NaN without header", "x.dat", "1,a,nan\n", {"columns": ("session_id", "item_id", "timestamp")}, 1, ["nan"]),
]


@pytest.mark.parametrize("case", LOG_CASES, ids=[c[0] for c in LOG_CASES])
def test_click_log(tmp_path, case):
    _, name, content, options, line, words = case
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    fails(lambda p: prepare(p, "d", tmp_path / "out", **options), path, *words, line=line)
    assert not (tmp_path / "out").exists()


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path)


@pytest.mark.parametrize(
    "columns,words",
    [
        ({"session_id": [1, 2], "item_id": ["a", None], "timestamp": [1, 2]}, ["row 2", "empty item_id"]),
        ({"session_id": ["x", ""], "item_id": [1, 2], "timestamp": [1, 2]}, ["row 2", "empty session_id"]),
        ({"session_id": [1, 2], "item_id": [1.0, 2.0], "timestamp": [1, 2]}, ["'item_id'", "double"]),
        ({"session_id": [1, 2], "item_id": [1, 2], "timestamp": [1, None]}, ["row 2", "no time"]),
        ({"session_id": [1, 2], "item_id": [1, 2], "timestamp": [1.0, float("nan")]}, ["row 2", "finite"]),
        ({"session_id": [1, 2], "item_id": [1, 2], "tmestamp": [1, 2]}, ["'timestamp'", "did you mean tmestamp?"]),
        ({"session_id": [], "item_id": [], "timestamp": []}, ["no rows"]),
    ],
)
def test_parquet_log(tmp_path, columns, words):
    path = tmp_path / "x.parquet"
    parquet(path, **columns)
    fails(lambda p: prepare(p, "d", tmp_path / "out"), path, *words)


def test_damaged_parquet(tmp_path):
    path = tmp_path / "x.parquet"
    parquet(path, session_id=["1"] * 50, item_id=["a"] * 50, timestamp=list(range(50)))
    path.write_bytes(path.read_bytes()[:-20])
    fails(lambda p: prepare(p, "d", tmp_path / "out"), path, "damaged Parquet")


LOG = "session_id,item_id,timestamp\n" + "".join(
    f"{s},{i},{10 * s + k}\n" for s in range(20) for k, i in enumerate("abc")
)

# Options that cannot be, whatever the file.
OPTION_CASES = [
    ({"min_support": 1000}, ["filters", "min_support=1000"]),
    ({"min_length": 9}, ["filters", "min_length=9"]),
    ({"min_length": 1}, ["min_length=1", "at least 2"]),
    ({"min_support": 0}, ["min_support=0", "at least 1"]),
    ({"max_length": 1}, ["max_length=1", "at least 2"]),
    ({"test_ratio": 1.5}, ["test_ratio=1.5"]),
    ({"test_ratio": 0.001}, ["test_ratio=0.001", "20 sessions"]),
    ({"test_ratio": 0.1, "test_days": 1}, ["not both"]),
    ({"test_days": 5}, ["test_days=5", "empty"]),
    ({"test_days": -1}, ["test_days"]),
    ({"train_fraction": 0}, ["train_fraction=0"]),
    ({"format": "parquet"}, ["format=parquet", "clicks"]),
    ({"time_unit": "min"}, ["time_unit=min", "ms"]),
    ({"user": "session_id"}, ["session_gap"]),
    ({"session_gap": 60}, ["user"]),
    ({"user": "session_id", "session_gap": 0}, ["session_gap"]),
    ({"user": "session_id", "session": "x", "session_gap": 5}, ["not both"]),
    ({"user": "session_id", "session_gap": 60, "file_order": True}, ["time of every click"]),
    ({"delimiter": ";;;;;"}, ["one character"]),
    ({"delimiter": ";"}, ["no column"]),
    ({"train": "x"}, ["not both"]),
    ({"file_order": True, "test_days": 1}, ["test_days", "time"]),
    ({"items": "{folder}/none.item"}, ["none.item", "no such file"]),
]


@pytest.mark.parametrize("options,words", OPTION_CASES, ids=[str(c[0]) for c in OPTION_CASES])
def test_options(tmp_path, options, words):
    path = tmp_path / "x.csv"
    path.write_text(LOG)
    options = {k: v.format(folder=tmp_path) if isinstance(v, str) else v for k, v in options.items()}
    with pytest.raises(UserError) as caught:
        prepare(path, "d", tmp_path / "out", **options)
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a\tb", "..", "a\\b"])
def test_names_that_are_no_folder_names(tmp_path, name):
    (tmp_path / "x.csv").write_text(LOG)
    with pytest.raises(UserError, match="cannot be a folder's name"):
        prepare(tmp_path / "x.csv", name, tmp_path / "out")


def test_logs_with_nothing_to_predict(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("session_id,item_id,timestamp\n" + "".join(f"{s},a,{s}\n" for s in range(20)))
    with pytest.raises(UserError, match="filters leave no click"):
        prepare(path, "d", tmp_path / "out")


def test_test_set_of_unseen_items_only(tmp_path):
    path = tmp_path / "x.csv"
    rows = [f"{s},{i}{s // 18},{10 * s + k}\n" for s in range(20) for k, i in enumerate("abc")]
    path.write_text("session_id,item_id,timestamp\n" + "".join(rows))
    with pytest.raises(UserError, match="no test session has two clicks"):
        prepare(path, "d", tmp_path / "out", min_support=1)


def test_split_files_refuse_what_would_change_them(tmp_path):
    for split in ("train", "test"):
        (tmp_path / f"{split}.txt").write_text("1 2 3\n2 3\n")
    with pytest.raises(UserError, match="min_support is for one log"):
        prepare(tmp_path, "d", tmp_path / "out", min_support=2)


def test_no_source(tmp_path):
    with pytest.raises(UserError, match="give a source"):
        prepare(None, "d", tmp_path / "out")
    with pytest.raises(UserError, match="--train and --test"):
        prepare(None, "d", tmp_path / "out", train=tmp_path / "x")


def test_folders_that_do_not_say_what_is_what(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=r"none of all_train_seq\.txt"):
        prepare(empty, "d", tmp_path / "out")
    for name in ("a.inter", "b.inter"):
        (empty / name).write_text(CLICKS)
    with pytest.raises(UserError, match=r"several data sets in it \(a.inter, b.inter\)"):
        prepare(empty, "d", tmp_path / "out")
    (empty / "a.train.inter").write_text(CLICKS)
    with pytest.raises(UserError, match=r"a\.test\.inter: no such file"):
        prepare(empty, "d", tmp_path / "out")
