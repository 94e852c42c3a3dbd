"""``prepare`` from end to end: every kind of source, the command, and the field's own sets."""

import gzip
import json
import pickle
import zipfile

import pytest

from recbole_tme import cli
from recbole_tme.data.checks import audit
from recbole_tme.data.prepare import prepare
from recbole_tme.data.readers.atomic import read_dataset
from recbole_tme.data.readers.lines import read_lines
from recbole_tme.data.readers.plain_pickle import load_plain

TRAIN = [[1, 2, 3], [2, 3], [3, 1, 2, 2]]
TEST = [[1, 2], [3, 2, 1]]


def rows_of(sessions):
    pairs = [(s[:k], s[k]) for s in sessions for k in range(len(s) - 1, 0, -1)]
    return [prefix for prefix, _ in pairs], [target for _, target in pairs]


def as_pickles(folder):
    (folder / "all_train_seq.txt").write_bytes(pickle.dumps(TRAIN))
    (folder / "test.txt").write_bytes(pickle.dumps(rows_of(TEST)))
    # The field's archives hold the same once more as pairs; the sessions are preferred.
    (folder / "train.txt").write_bytes(pickle.dumps(rows_of(TRAIN)))


def as_pickled_pairs(folder):
    (folder / "train.txt").write_bytes(pickle.dumps(rows_of(TRAIN)))
    (folder / "test.txt").write_bytes(pickle.dumps(list(rows_of(TEST))))


def as_lines(folder):
    for name, sessions in (("train", TRAIN), ("test", TEST)):
        (folder / f"{name}.txt").write_text("".join(" ".join(map(str, s)) + "\n" for s in sessions))


def as_packed_lines(folder):
    for name, sessions in (("train", TRAIN), ("test", TEST)):
        text = "".join("\t".join(map(str, s)) + " \r\n\r\n" for s in sessions)
        (folder / f"{name}.txt.gz").write_bytes(gzip.compress(text.encode()))


def as_presplit(folder):
    for name, sessions in (("train", TRAIN), ("test", TEST)):
        rows = [f"{k}\t{' '.join(map(str, p))}\t{t}\n" for k, (p, t) in enumerate(zip(*rows_of(sessions)), 1)]
        header = "session_id:token\titem_id_list:token_seq\titem_id:token\n"
        (folder / f"x-session.{name}.inter").write_text(header + "".join(rows))


def as_click_rows(folder):
    for name, sessions in (("train", TRAIN), ("test", TEST)):
        rows = [f"{name}{k}\t{i}\n" for k, s in enumerate(sessions) for i in s]
        (folder / f"x.{name}.inter").write_text("session_id:token\titem_id:token\n" + "".join(rows))


WRITERS = [as_pickles, as_pickled_pairs, as_lines, as_packed_lines, as_presplit]


def lists_of(data, split):
    sessions = getattr(data, split)
    return [data.tokens[sessions[s]].tolist() for s in range(len(sessions))]


@pytest.mark.parametrize("write", WRITERS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_every_split_source_gives_the_same_data_set(tmp_path, write, packed):
    folder = tmp_path / "source" / "inner"
    folder.mkdir(parents=True)
    write(folder)
    source = folder
    if packed:
        source = tmp_path / "source.zip"
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr("__MACOSX/._x.train.inter", "what Macs leave in zip files")
            for path in folder.iterdir():
                archive.write(path, f"inner/{path.name}")
    found = prepare(source, "d", tmp_path / "out")
    data = read_dataset(found, "d")
    assert lists_of(data, "train") == [[str(i) for i in s] for s in TRAIN]
    assert lists_of(data, "test") == [[str(i) for i in s] for s in TEST]
    assert data.tokens.tolist() == ["[PAD]", "1", "2", "3"]
    assert data.train.ids.tolist() + data.test.ids.tolist() == ["1", "2", "3", "4", "5"]
    assert data.train.is_target is None and data.test.is_target is None
    record = json.loads((found / "d.json").read_text())
    assert len(record["sources"]) == 2 and all(len(s["sha256"]) == 64 for s in record["sources"])


def test_our_own_files_are_a_source_too(tmp_path):
    as_click_rows(tmp_path)
    data = read_dataset(prepare(tmp_path, "d", tmp_path / "out"), "d")
    assert lists_of(data, "train") == [[str(i) for i in s] for s in TRAIN]
    assert data.train.ids.tolist() == ["train0", "train1", "train2"]


def test_split_files_by_name(tmp_path):
    as_lines(tmp_path)
    as_packed_lines(tmp_path)
    found = prepare(
        None,
        "d",
        tmp_path / "out",
        train=tmp_path / "train.txt",
        test=tmp_path / "test.txt.gz",
        valid=tmp_path / "test.txt",
    )
    data = read_dataset(found, "d")
    assert lists_of(data, "valid") == lists_of(data, "test") == [[str(i) for i in s] for s in TEST]


def test_format_given_beats_the_look_of_the_file(tmp_path):
    text = "".join(f"{s % 5} {s % 3}\n" for s in range(30))
    (tmp_path / "x.csv").write_text(text)
    found = prepare(tmp_path / "x.csv", "d", tmp_path / "out", format="lines", min_support=1)
    assert len(read_dataset(found, "d").train) == 27


def write_log(path, n=40):
    rows = ["session,item,when"]
    for s in range(n):
        rows += [f"{s},{'abcd'[(s + k) % 4]},{1000 * s + k}" for k in range(2 + s % 3)]
    rows += [f"{n},z,{1000 * n}", f"{n},a,{1000 * n + 1}", f"{n},b,{1000 * n + 2}"]
    path.write_text("\n".join(rows) + "\n")


def test_one_log_is_filtered_and_split(tmp_path):
    write_log(tmp_path / "log.csv")
    (tmp_path / "log.item").write_text("item_id:token\tmovie_title:token_seq\na\tAlpha\nz\tZulu\n")
    options = {"session": "session", "item": "item", "time": "when", "test_ratio": 0.2, "max_length": 3}
    found = prepare(tmp_path / "log.csv", "d", tmp_path / "out", items=tmp_path / "log.item", **options)
    data = read_dataset(found, "d")
    assert len(data.train) == 33 and len(data.test) == 8
    assert data.train.times.max() < data.test.times.min()
    # z is clicked once, so it goes, and with it the rest of that session is what it was.
    assert "z" not in data.tokens and data.titles == {"a": "Alpha"}
    assert data.test.ids[-1] == "40" and lists_of(data, "test")[-1] == ["a", "b"]
    # The most recent clicks of a session of four are kept.
    assert data.train.ids[2] == "2" and lists_of(data, "train")[2] == ["d", "a", "b"]
    assert json.loads((found / "d.json").read_text())["settings"] == options


def test_one_log_keeps_the_order_of_last_clicks_that_filters_leave(tmp_path):
    # Without its last click, on an item too rare, session 1 ends before session 2.
    rows = ["session_id,item_id,timestamp", "1,a,1", "1,b,2", "1,rare,100", "2,a,3", "2,b,4"]
    rows += [f"{s},{i},{1000 * s + k}" for s in range(3, 13) for k, i in enumerate("ab")]
    (tmp_path / "log.csv").write_text("\n".join(rows))
    data = read_dataset(prepare(tmp_path / "log.csv", "d", tmp_path / "out"), "d")
    assert data.train.ids.tolist()[:3] == ["1", "2", "3"]


def test_fraction_of_train_decides_which_test_items_are_seen(tmp_path):
    rows = ["session_id,item_id,timestamp"]
    rows += [f"{s},{i},{10 * s + k}" for s in range(20) for k, i in enumerate("ab" if s < 10 else "cd")]
    rows += ["20,a,1000", "20,c,1001", "20,d,1002"]
    (tmp_path / "log.csv").write_text("\n".join(rows))
    data = read_dataset(prepare(tmp_path / "log.csv", "d", tmp_path / "out", test_ratio=0.05, train_fraction=0.25), "d")
    assert lists_of(data, "train") == [["c", "d"]] * 5 and lists_of(data, "test") == [["c", "d"]]


def test_existing_data_set_is_refused_before_the_work(tmp_path):
    as_lines(tmp_path)
    prepare(tmp_path, "d", tmp_path / "out")
    (tmp_path / "train.txt").write_text("")
    with pytest.raises(Exception, match="exists already"):
        prepare(tmp_path, "d", tmp_path / "out")


def test_command_line(tmp_path, capsys):
    write_log(tmp_path / "log.tsv")
    (tmp_path / "log.tsv").write_text((tmp_path / "log.tsv").read_text().replace(",", "\t"))
    arguments = ["prepare", str(tmp_path / "log.tsv"), "--name", "own", "--out", str(tmp_path / "out")]
    columns = ["--session", "session", "--item", "item", "--time", "when", "--delimiter", "tab"]
    assert cli.main([*arguments, *columns, "--test-ratio", "0.25", "--min-support", "2"]) == 0
    printed = capsys.readouterr()
    assert "train sessions" in printed.out and "--dataset=own" in printed.err
    assert not [line for line in printed.out.splitlines() if len(line) > 80 and str(tmp_path) not in line]
    assert cli.main(["audit", str(tmp_path / "out" / "own")]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["train", "sessions", "31"]
    assert cli.main(["audit", "own", "--data_path", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    assert cli.main([*arguments, *columns]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "--overwrite" in error and error.count("\n") == 1
    header = ["--columns", "session,item,when", "--file-order", "--overwrite", "--min-support", "1"]
    assert cli.main([*arguments, *columns[:4], *header]) == 0


# Counts of the protocol's table of the field's standard splits.
TABLE = {
    "tmall": (65_286, 351_268, 25_898, 1_027, 40_727, 39, 0.454, 0.092),
    "diginetica": (186_670, 719_470, 60_858, 15_963, 43_097, 69, 0.205, 0.091),
    "nowplaying": (128_077, 825_304, 89_824, 14_479, 60_416, 29, 0.067, 0.040),
}
KEYS = (
    "train_sessions",
    "train_prefixes",
    "test_prefixes",
    "test_sessions",
    "items",
    "max_length",
    "target_in_session",
    "target_is_last_click",
)


@pytest.mark.parametrize("name", TABLE)
def test_the_fields_sets_have_the_protocols_counts(shared_data, tmp_path, name):
    result = audit(read_dataset(prepare(shared_data / name, name, tmp_path), name))
    for key, expected in zip(KEYS, TABLE[name]):
        assert result[key] == (pytest.approx(expected, abs=5e-4) if isinstance(expected, float) else expected), key
    assert result["unseen_test_items"] == 0


def test_the_fields_pickles_give_every_instance(shared_data, tmp_path):
    if not (shared_data / "orig" / "tmall").is_dir():
        pytest.skip("needs the original pickles of Tmall (../shared/data/orig/tmall)")
    data = read_dataset(prepare(shared_data / "orig" / "tmall", "tmall", tmp_path), "tmall")
    for split, count in (("train", 351_268), ("test", 25_898)):
        sessions, field = getattr(data, split), read_lines(shared_data / "tmall" / f"{split}.txt.gz")
        assert [a.tolist() for a in sessions.instances()] == [a.tolist() for a in field.sessions.instances()]
        assert data.tokens[sessions.items].tolist() == field.tokens[field.sessions.items].tolist()
        assert len(sessions.instances()[0]) == count
    prefixes, targets = load_plain(shared_data / "orig" / "tmall" / "test.txt")
    names = data.tokens[data.test.items].astype(int).tolist()
    session, target = data.test.instances()
    starts = data.test.offsets[session].tolist()
    assert [names[a:b] for a, b in zip(starts, target.tolist())] == prefixes
    assert [names[t] for t in target.tolist()] == targets
    # The last click's time is not in these files.
    assert data.train.times is None


def test_yoochoose_with_times(shared_data, tmp_path):
    source = shared_data / "yoochoose-100k"
    if not source.is_dir():
        pytest.skip("needs ../shared/data/yoochoose-100k")
    found = prepare(None, "y", tmp_path, train=source / "train.inter.gz", test=source / "test.inter.gz")
    data = read_dataset(found, "y")
    for split in ("train", "test"):
        field = read_lines(source / f"{split}.txt.gz").sessions
        sessions = getattr(data, split)
        assert sessions.offsets.tolist() == field.offsets.tolist()
    # The .txt files number items by first appearance in train, as we do.
    field = read_lines(source / "train.txt.gz")
    assert field.tokens[field.sessions.items].astype(int).tolist() == data.train.items.tolist()
    result = audit(data)
    assert result["train_prefixes"] == 52_484 and result["test_prefixes"] == 10_152
    assert result["test_sessions_before_train_end"] == 0 and result["tied_clicks"] == 4
