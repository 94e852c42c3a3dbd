"""Click logs into sessions: every way to write one gives the same, in the order of time."""

import datetime
import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_tme.data.readers.clicklog import read_log
from recbole_tme.data.readers.columns import LogColumns

START = 1_396_314_210


def read(path, columns):
    return read_log([path], columns)[0]


def as_dict(found):
    names = found.tokens[found.sessions.items]
    return {
        found.sessions.ids[s]: names[found.sessions.offsets[s] : found.sessions.offsets[s + 1]].tolist()
        for s in range(len(found.sessions))
    }


def write_csv(path, rows, header="session_id,item_id,timestamp"):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n", encoding="utf-8")
    return path


def sessions_slowly(rows):
    """Rows (session, item, time) by the definition: sorted by time in a session, sessions by their last click."""
    sessions = {}
    for row in rows:
        sessions.setdefault(row[0], []).append(row)
    ordered = [sorted(clicks, key=lambda row: row[2]) for clicks in sessions.values()]
    ordered.sort(key=lambda clicks: clicks[-1][2])
    return {clicks[0][0]: [row[1] for row in clicks] for clicks in ordered}


@given(
    st.lists(st.tuples(st.sampled_from("pqrs"), st.sampled_from("abcde"), st.integers(0, 9)), min_size=1, max_size=30)
)
@settings(deadline=None, max_examples=60)
def test_sorts_by_time_stably(tmp_path_factory, rows):
    path = write_csv(tmp_path_factory.mktemp("log") / "x.csv", rows)
    found = as_dict(read(path, LogColumns()))
    expected = sessions_slowly(rows)
    assert found == expected and list(found) == list(expected)


def test_clicks_seconds_apart_stay_in_order(tmp_path):
    # In float32 a Unix time of 2014 has steps of 128 s.
    rng = np.random.default_rng(0)
    rows = [(s, f"i{k}", START + 0.5 + 1000 * s + 20 * k) for s in range(50) for k in range(10)]
    path = write_csv(tmp_path / "x.csv", [rows[k] for k in rng.permutation(len(rows))])
    found = read(path, LogColumns())
    assert as_dict(found) == {str(s): [f"i{k}" for k in range(10)] for s in range(50)}
    assert found.sessions.times.tolist() == [row[2] for row in rows]


def test_integers_beyond_float64_stay_in_order(tmp_path):
    base = START * 10**9
    path = write_csv(tmp_path / "x.csv", [(1, name, base + k) for name, k in (("b", 2), ("a", 1), ("c", 3))])
    found = read(path, LogColumns())
    assert as_dict(found) == {"1": ["a", "b", "c"]}
    assert found.sessions.times == pytest.approx([START] * 3)


@pytest.mark.parametrize(
    "write",
    [
        lambda t: str(t),
        lambda t: f"{t * 1000:.0f}",
        lambda t: f"{t * 1000000:.0f}",
        lambda t: datetime.datetime.fromtimestamp(t, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        lambda t: datetime.datetime.fromtimestamp(t, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f"),
        lambda t: datetime.datetime.fromtimestamp(t, datetime.timezone.utc).isoformat(),
    ],
    ids=["seconds", "milliseconds", "microseconds", "zulu", "space", "offset"],
)
def test_times_however_written_are_seconds(tmp_path, write):
    times = [START + 0.25, START + 20.5, START + 40.75]
    path = write_csv(tmp_path / "x.csv", [(1, k, write(t)) for k, t in enumerate(times)])
    assert read(path, LogColumns()).sessions.times.tolist() == times


def test_unit_given_beats_the_size(tmp_path):
    path = write_csv(tmp_path / "x.csv", [(1, "a", 1000), (1, "b", 2500)])
    assert read(path, LogColumns(time_unit="ms")).sessions.times.tolist() == [1.0, 2.5]
    assert read(path, LogColumns()).sessions.times.tolist() == [1000.0, 2500.0]


ROWS = [("s1", "NA", 5), ("s2", "null", 3), ("s1", "x y", 4), ("s2", "NaN", 9), ("s1", "é", 6)]
EXPECTED = {"s1": ["x y", "NA", "é"], "s2": ["null", "NaN"]}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("packed", [False, True])
def test_every_way_to_write_text_gives_the_same(tmp_path, delimiter, end, bom, packed):
    rows = [("session_id", "item_id", "extra", "timestamp"), *((s, i, "", t) for s, i, t in ROWS)]
    content = (bom + "".join(delimiter.join(map(str, row)) + end for row in rows)).encode()
    path = tmp_path / "log"
    path.write_bytes(gzip.compress(content) if packed else content)
    found = read(path, LogColumns())
    assert as_dict(found) == EXPECTED and list(as_dict(found)) == ["s1", "s2"]
    assert found.sessions.times.tolist() == [4, 5, 6, 3, 9]


@pytest.mark.parametrize(
    "kind", [pa.int64(), pa.float64(), pa.timestamp("s"), pa.timestamp("us", "UTC"), pa.string()], ids=str
)
def test_parquet_gives_the_same(tmp_path, kind):
    sessions, items, times = zip(*ROWS)
    seconds = pa.array(times, pa.int64())
    # An integer cast to a timestamp counts in the timestamp's unit.
    stamps = seconds.cast(pa.timestamp("s")) if pa.types.is_timestamp(kind) else seconds
    table = pa.table(
        {
            "session_id": pa.array(sessions).dictionary_encode(),
            "item_id": pa.array(items, pa.large_string()),
            "timestamp": stamps.cast(kind),
        }
    )
    pq.write_table(table, tmp_path / "log", row_group_size=2)
    found = read(tmp_path / "log", LogColumns())
    assert as_dict(found) == EXPECTED
    assert found.sessions.times.tolist() == [4, 5, 6, 3, 9]


def test_parquet_integer_ids(tmp_path):
    pq.write_table(pa.table({"s": [7, 7], "i": [30, -4], "t": [1, 2]}), tmp_path / "log")
    assert as_dict(read(tmp_path / "log", LogColumns(session="s", item="i", time="t"))) == {"7": ["30", "-4"]}


def test_quotes_are_syntax_in_csv_and_names_in_tab_separated_files(tmp_path):
    write_csv(tmp_path / "x.csv", [("1", '"a,""b"""', 1), ("1", 'disk 3"', 2)])
    assert as_dict(read(tmp_path / "x.csv", LogColumns())) == {"1": ['a,"b"', 'disk 3"']}
    (tmp_path / "x.tsv").write_text('session_id\titem_id\ttimestamp\n1\t"a\t1\n1\tb"\t2\n')
    assert as_dict(read(tmp_path / "x.tsv", LogColumns())) == {"1": ['"a', 'b"']}


def test_log_without_header_and_with_recboles_types(tmp_path):
    (tmp_path / "clicks.dat").write_text("1,2014-04-07T10:51:09.277Z,a,0\n1,2014-04-07T10:54:09.868Z,b,0\n")
    columns = LogColumns(time="time", item="item", session="session", columns=("session", "time", "item", "category"))
    assert as_dict(read(tmp_path / "clicks.dat", columns)) == {"1": ["a", "b"]}
    (tmp_path / "x.inter").write_text("visitor:token\titem_id:token\ttimestamp:float\n1\ta\t2\n1\tb\t1\n")
    assert as_dict(read(tmp_path / "x.inter", LogColumns(session="visitor"))) == {"1": ["b", "a"]}


def test_file_order_in_place_of_time(tmp_path):
    write_csv(tmp_path / "x.csv", [("p", "a"), ("q", "b"), ("p", "c"), ("r", "d"), ("q", "a")], "session_id,item_id")
    found = read(tmp_path / "x.csv", LogColumns(file_order=True))
    assert as_dict(found) == {"p": ["a", "c"], "r": ["d"], "q": ["b", "a"]}
    assert list(as_dict(found)) == ["p", "r", "q"] and found.sessions.times is None


def gap_sessions_slowly(rows, gap):
    users = {}
    for row in rows:
        users.setdefault(row[0], []).append(row)
    sessions = []
    for user, clicks in users.items():
        clicks = sorted(clicks, key=lambda row: row[2])
        number = 0
        for k, row in enumerate(clicks):
            if k == 0 or row[2] - clicks[k - 1][2] > gap:
                number += 1
                sessions.append((f"{user}-{number}", [], []))
            sessions[-1][1].append(row[1])
            sessions[-1][2].append(row[2])
    sessions.sort(key=lambda session: session[2][-1])
    return {name: items for name, items, _ in sessions}


@given(
    st.lists(
        st.tuples(st.sampled_from(["u", "v", "u-1"]), st.sampled_from("abc"), st.integers(0, 60)),
        min_size=1,
        max_size=25,
    )
)
@settings(deadline=None, max_examples=60)
def test_pauses_cut_users_into_sessions(tmp_path_factory, rows):
    path = write_csv(tmp_path_factory.mktemp("gap") / "x.csv", rows, "user,item_id,timestamp")
    found = as_dict(read(path, LogColumns(user="user", session_gap=5)))
    expected = gap_sessions_slowly(rows, 5)
    assert found == expected and list(found) == list(expected)


def test_pause_is_in_seconds_whatever_the_unit(tmp_path):
    rows = [("u", k, (START + t) * 1000) for k, t in enumerate([0, 30, 60, 100])]
    path = write_csv(tmp_path / "x.csv", rows, "user,item_id,timestamp")
    assert as_dict(read(path, LogColumns(user="user", session_gap=30))) == {"u-1": ["0", "1", "2"], "u-2": ["3"]}
