"""Small files as people really have them: each is read right or refused, and what was done is said and stored.

All hold the same 240 sessions over 30 items unless a test says otherwise.
"""

import json
import shutil
from pathlib import Path

import pytest

from recbole_tme.data.prepare import prepare
from recbole_tme.errors import UserError

CASES = Path(__file__).parents[1] / "fixtures" / "cases"
RIGHT = {"train": (216, 793), "test": (24, 105), "items": 30}


def counts(folder: Path) -> dict:
    stored = json.loads((folder / f"{folder.name}.json").read_text(encoding="utf-8"))["counts"]
    splits = {
        split: (value["sessions"], value["instances"]) for split, value in stored.items() if isinstance(value, dict)
    }
    return {"items": stored["items"], **splits}


def record(folder: Path) -> dict:
    return json.loads((folder / f"{folder.name}.json").read_text(encoding="utf-8"))["record"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("srec.txt", {"session": "SessionId", "item": "ItemId", "time": "Time"}),
        ("srec.txt", {}),
        ("log2.jsonl", {}),
        ("otto.jsonl", {"session": "session", "item": "aid", "time": "ts"}),
        ("otto.jsonl", {}),
        ("otto2.jsonl", {}),
        ("pairs.txt", {"first_field": "session"}),
        ("pairs.txt", {"columns": ("session_id", "item_id"), "file_order": True}),
        ("userfirst.txt", {"first_field": "session"}),
        ("compact.csv", {}),
        ("compact.csv", {"time_format": "YYYYMMDDhhmmss"}),
        ("dig.csv", {"session": "sessionId", "item": "itemId", "time": "eventdate", "tie_break": "timeframe"}),
        ("dup.csv", {"drop_repeats": "exact"}),
        ("us.csv", {"time_format": "%m/%d/%Y %I:%M %p"}),
        ("us.csv", {"time_format": "MM/DD/YYYY hh:mm AM"}),
        ("eu.csv", {"time_format": "%d.%m.%Y %H:%M:%S"}),
        ("eu.csv", {"time_format": "DD.MM.YYYY hh:mm:ss"}),
        ("tz.csv", {}),
        ("rees.csv.gz", {"session": "user_session", "item": "product_id", "time": "event_time"}),
        ("rees.csv.gz", {"session": "user_id,user_session", "item": "product_id", "time": "event_time"}),
        ("dblcolon.dat", {"session": "u", "item": "i", "time": "t"}),
        ("dblcolon.dat", {"session": "u", "item": "i", "time": "t", "delimiter": "::"}),
        ("utf16.csv", {}),
        ("utf16.csv", {"encoding": "utf-16"}),
        ("hdr", {"session": "user_id"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value) or "plain",
)
def test_read_right(tmp_path, name, options):
    assert counts(prepare(CASES / name, "d", tmp_path, **options)) == RIGHT


def test_padding_zeros_are_no_item_and_the_session_id_groups_the_rows(tmp_path):
    folder = prepare(CASES / "bmpad", "d", tmp_path)
    # 216 training sessions, the last 24 of which the source holds out itself.
    assert counts(folder) == {"train": (192, 703), "valid": (24, 90), "test": (24, 105), "items": 30}
    assert sum("padding" in text for text in record(folder)["warnings"]) == 3


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("page.html", {}, ["HTML"]),
        ("page.html", {"session": "a"}, ["HTML"]),
        ("pairs.txt", {}, ["2 fields", "--columns", "--first-field"]),
        ("userfirst.txt", {}, ["another field", "--first-field=session"]),
        ("us.csv", {}, ["line 2", "day or month first", "'%m/%d/%Y %I:%M %p'"]),
        ("eu.csv", {}, ["line 2", "--time-format='%d.%m.%Y %H:%M:%S'"]),
        ("eu.csv", {"time_format": "%d/%m/%Y %H:%M:%S"}, ["line 2", "not of the form"]),
        ("compact.csv", {"time_unit": "ms"}, ["line", "the year 2609", "--time-format"]),
        ("hdr", {}, ["user_id", "--session"]),
        ("dig.csv", {}, ["sessionId", "--session"]),
        ("rees.csv.gz", {"session": "user_session", "item": "product_id", "time": "event_time", "where": "evnt = 1"},
         ["where", "evnt"]),
        ("rees.csv.gz", {"session": "user_session", "item": "product_id", "time": "event_time", "where": "price = 'x'"},
         ["where", "x"]),
        ("rees.csv.gz", {"session": "user_session", "item": "product_id", "time": "event_time", "where": "1=1; drop"},
         ["where"]),
        ("rees.csv.gz", {"session": "user_session", "item": "product_id", "time": "event_time", "where": "price < 0"},
         ["keeps none"]),
        ("log2.jsonl", {"item": "product"}, ["'product'", "item_id"]),
        ("utf16.csv", {"encoding": "utf-33"}, ["encoding=utf-33"]),
        ("utf16.csv", {"encoding": "ascii"}, ["not text in ascii", "--encoding"]),
    ],
)  # fmt: skip
def test_refused_in_one_line(tmp_path, name, options, words):
    with pytest.raises(UserError) as caught:
        prepare(CASES / name, "d", tmp_path, **options)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_what_the_split_drops_is_said_stored_and_kept_for_training_on_everything(tmp_path):
    folder = prepare(CASES / "churn.csv", "d", tmp_path)
    assert counts(folder)["test"] == (21, 64)
    (text,) = record(folder)["warnings"]
    assert "41 of 105 test prefixes and 3 of 24 test sessions are dropped" in text and "--fit=all" in text
    dropped = record(folder)["dropped"][-1]
    assert dropped == {"reason": "test click on an item unseen in train", "clicks": 39, "sessions": 3}
    assert (folder / "d.whole_test.inter").read_text().count("\n") == 1 + 124


def test_each_reason_is_counted(tmp_path):
    log = {"session": "user_session", "item": "product_id", "time": "event_time"}
    folder = prepare(CASES / "rees.csv.gz", "d", tmp_path, where="event_type = 'view'", min_support=12, **log)
    found = record(folder)
    reasons = {one["reason"].split(":")[0]: one["clicks"] for one in found["dropped"]}
    assert set(reasons) == {"rows without event_type = 'view'", "rare item", "short session"}
    stored = json.loads((folder / "d.json").read_text())["counts"]
    kept = stored["train"]["clicks"] + stored["test"]["clicks"]
    assert found["read"]["rows"] == 1138 == kept + sum(reasons.values())


def test_events_logged_twice_are_warned_of_and_dropped_by_item_or_exactly(tmp_path):
    plain = prepare(CASES / "dup.csv", "plain", tmp_path)
    assert any("--drop-repeats=exact" in text for text in record(plain)["warnings"])
    by_item = prepare(CASES / "dup.csv", "item", tmp_path, drop_repeats="item")
    once = prepare(CASES / "tz.csv", "once", tmp_path, drop_repeats="item")
    assert counts(by_item) == counts(once) != RIGHT


def test_titles_from_the_log_or_from_a_table(tmp_path):
    lines = (CASES / "churn.csv").read_text().splitlines()
    clicks = [line.split(",") for line in lines[1:]]
    rows = [f"{item},{session},{time},The {item}" for session, item, time in clicks]
    (tmp_path / "log.csv").write_text("\n".join(["sku,sid,t,name", *rows]))
    options = {"session": "sid", "item": "sku", "time": "t", "min_support": 1}
    from_log = prepare(tmp_path / "log.csv", "a", tmp_path, title="name", **options)
    items = {line.split(",")[1] for line in lines[1:]}
    (tmp_path / "items.csv").write_text("brand;sku;name\n" + "".join(f"x;{i};The {i}\n" for i in items))
    from_table = prepare(tmp_path / "log.csv", "b", tmp_path, items=tmp_path / "items.csv", title="name", **options)
    titles = [set((folder / f"{folder.name}.item").read_text().splitlines()[1:]) for folder in (from_log, from_table)]
    # Titles of items of the last days are there, too.
    assert titles[0] == titles[1] == {f"{item}\tThe {item}" for item in items}
    (tmp_path / "named.csv").write_text("id,label\np1,x\n")
    with pytest.raises(UserError, match="--title"):
        prepare(tmp_path / "log.csv", "c", tmp_path, items=tmp_path / "named.csv", **options)
    with pytest.raises(UserError, match="--items-id"):
        prepare(
            tmp_path / "log.csv", "c", tmp_path, items=tmp_path / "named.csv", title="label", items_id="code",
            **options | {"item": "sku"},
        )  # fmt: skip


def test_users_in_place_of_sessions_are_warned_of(tmp_path):
    rows = [f"u{k % 10},i{k % 7},{1_569_888_616 + 3600 * k}\n" for k in range(400)]
    (tmp_path / "x.csv").write_text("session_id,item_id,timestamp\n" + "".join(rows))
    folder = prepare(tmp_path / "x.csv", "d", tmp_path)
    assert any("--session-gap" in text and "more than a day" in text for text in record(folder)["warnings"])
    rows = [f"u{k % 20 if k < 40 else 0},i{k % 7},{1_569_888_616 + k}\n" for k in range(1300)]
    (tmp_path / "y.csv").write_text("session_id,item_id,timestamp\n" + "".join(rows))
    folder = prepare(tmp_path / "y.csv", "e", tmp_path)
    assert any("more than 1,000 clicks" in text for text in record(folder)["warnings"])


def test_blanks_around_ids_are_cut_off_and_said(tmp_path):
    text = (CASES / "tz.csv").read_text().replace(",12,", ", 12 ,")
    (tmp_path / "x.csv").write_text(text)
    folder = prepare(tmp_path / "x.csv", "d", tmp_path)
    assert counts(folder) == RIGHT
    assert any("blanks around an id" in text for text in record(folder)["warnings"])


@pytest.mark.parametrize("encoding", ["latin-1", "gbk", "cp1252"])
def test_encodings_are_named(tmp_path, encoding):
    name = "中" if encoding == "gbk" else "é"
    text = (CASES / "tz.csv").read_text().replace(",12,", f",{name},")
    (tmp_path / "x.csv").write_bytes(text.encode(encoding))
    with pytest.raises(UserError, match=r"UTF-8.*--encoding"):
        prepare(tmp_path / "x.csv", "d", tmp_path / "out")
    folder = prepare(tmp_path / "x.csv", "d", tmp_path / "out", encoding=encoding)
    assert counts(folder) == RIGHT and f"\t{name}\t" in (folder / "d.train.inter").read_text(encoding="utf-8")


@pytest.mark.parametrize("packing", ["gz", "bz2", "xz", "zst"])
def test_damaged_compression_is_an_error_not_less_data(tmp_path, packing):
    from test_forms import packed

    content = packed((CASES / "tz.csv").read_bytes(), packing)
    (tmp_path / f"x.csv.{packing}").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="damaged or incomplete"):
        prepare(tmp_path / f"x.csv.{packing}", "d", tmp_path / "out")


def test_several_headers_in_another_order_and_a_misfit(tmp_path):
    lines = (CASES / "tz.csv").read_text().splitlines()
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "a.csv").write_text("\n".join(lines[:600]))
    turned = [",".join(line.split(",")[::-1]) for line in [lines[0], *lines[600:]]]
    (tmp_path / "log" / "b.csv").write_text("\n".join(turned))
    assert counts(prepare(tmp_path / "log", "d", tmp_path)) == RIGHT
    shutil.copy(CASES / "log2.jsonl", tmp_path / "log" / "c.jsonl")
    with pytest.raises(UserError, match=r"c\.jsonl is json"):
        prepare(tmp_path / "log", "e", tmp_path)


def test_rows_of_prefixes_are_never_taken_for_clicks(tmp_path):
    shutil.copytree(CASES / "bmpad", tmp_path / "x")
    for path in (tmp_path / "x").iterdir():
        path.write_text(path.read_text().replace("session_id:", "user_id:"))
    with pytest.raises(UserError, match=r"unknown column 'user_id:token'.*--session user_id --item item_id"):
        prepare(tmp_path / "x", "d", tmp_path / "out")
    folder = prepare(tmp_path / "x", "d", tmp_path / "out", session="user_id")
    assert counts(folder) == counts(prepare(CASES / "bmpad", "e", tmp_path / "out"))
    for options in ({"file_order": True}, {"session": "user_id", "item": "item_id", "file_order": True}):
        with pytest.raises(UserError, match="prefixes of sessions"):
            prepare(tmp_path / "x", "f", tmp_path / "out", **options)
