"""What is known of items beside their clicks: titles, categories, prices, from the log or from a table of any form."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recbole_tme.cli import main
from recbole_tme.data import cache
from recbole_tme.data.items import ItemColumn
from recbole_tme.data.prepare import prepare
from recbole_tme.data.readers.atomic import read_dataset
from recbole_tme.errors import UserError
from recbole_tme.serving.rules.columns import ItemColumns

START = 1_569_888_616
KNOWN = {
    "a": ("Alpha", "3", "9.50"),
    "b": ("Beta", "3", "12"),
    "c": ("Gamma & Co", "7", ""),
    "d": ("Delta", "", "0.25"),
}


def write_log(path, content=True):
    """Forty sessions over four items; the price of a was another one before. d is clicked on the last day only."""
    rows = ["session_id,item_id,timestamp" + (",name,group,price" if content else "")]
    for s in range(40):
        for k, item in enumerate("abc" if s < 37 else "cda"):
            title, group, price = KNOWN[item]
            price = "8.00" if item == "a" and s < 20 else price
            rows.append(f"{s},{item},{START + 100 * s + k}" + (f",{title},{group},{price}" if content else ""))
    path.write_text("\n".join(rows) + "\n")
    return path


def record(folder):
    return json.loads((folder / f"{folder.name}.json").read_text())["record"]


RIGHT = {
    "group": ItemColumn("token", {"a": "3", "b": "3", "c": "7"}),
    "price": ItemColumn("float", {"a": "9.50", "b": "12", "d": "0.25"}),
}
TITLES = {item: title for item, (title, _, _) in KNOWN.items()}


def of_known(columns, without="d"):
    """Those of the items that the training sessions know."""
    kept = {name: {i: v for i, v in one.values.items() if i != without} for name, one in columns.items()}
    return {name: ItemColumn(columns[name].kind, values) for name, values in kept.items()}


def table_csv(path):
    rows = ["name;sku;group;price", *(f"{t};{i};{g};{p}" for i, (t, g, p) in KNOWN.items())]
    path.write_text("\n".join(rows))
    return path


def table_parquet(path):
    titles, groups, prices = zip(*KNOWN.values())
    columns = {"sku": list(KNOWN), "name": titles}
    columns["group"] = [int(group) if group else None for group in groups]
    columns["price"] = [float(price) if price else None for price in prices]
    pq.write_table(pa.table(columns), path)
    return path


def table_json(path):
    rows = [{"sku": i, "name": t, "group": g, "price": p} for i, (t, g, p) in KNOWN.items()]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def table_of_recbole(path):
    rows = ["item_id:token\tname:token_seq\tgroup:token\tprice:float"]
    path.write_text("\n".join([*rows, *("\t".join([i, *of]) for i, of in KNOWN.items())]))
    return path


def test_columns_of_the_log_are_of_each_items_last_row(tmp_path):
    options = {"title": "name", "item_columns": "group,price", "min_support": 1}
    folder = prepare(write_log(tmp_path / "x.csv"), "d", tmp_path / "out", **options)
    written = (folder / "d.item").read_text().splitlines()
    assert written[0] == "item_id:token\ttitle:token_seq\tgroup:token\tprice:float"
    # What is seen on the last day only is there, too.
    assert set(written[1:]) == {"\t".join([item, *of]) for item, of in KNOWN.items()}
    data = read_dataset(folder, "d")
    assert data.item_columns == of_known(RIGHT) and data.titles == {i: TITLES[i] for i in "abc"}
    assert record(folder)["read"]["of items"] == "title, group:token, price:float"
    assert [text for text in record(folder)["warnings"] if "have no" in text] == [
        "1 of 4 items have no group", "1 of 4 items have no price"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "write", "options"),
    [
        ("t.csv", table_csv, {"item_columns": "group,price", "items_id": "sku"}),
        ("t.csv", table_csv, {"item_columns": "all", "items_id": "sku"}),
        ("t.parquet", table_parquet, {"item_columns": ("price", "group"), "items_id": "sku"}),
        ("t.jsonl", table_json, {"item_columns": ["group:token", "price:float"], "items_id": "sku"}),
        ("t.item", table_of_recbole, {"item_columns": "all"}),
    ],
)
def test_columns_of_a_table(tmp_path, name, write, options):
    log = write_log(tmp_path / "x.csv", content=False)
    folder = prepare(log, "d", tmp_path / "out", items=write(tmp_path / name), **options)
    data = read_dataset(folder, "d")
    found = {key: ItemColumn(one.kind, dict(sorted(one.values.items()))) for key, one in data.item_columns.items()}
    right = RIGHT
    if name.endswith("parquet"):
        right = RIGHT | {"price": ItemColumn("float", {"a": "9.5", "b": "12.0", "d": "0.25"})}
    assert found == of_known(right) and data.titles == {i: TITLES[i] for i in "abc"}


def test_rules_and_the_binary_copy_have_the_same_columns(tmp_path, monkeypatch):
    options = {"title": "name", "item_columns": "group,price", "min_support": 1}
    folder = prepare(write_log(tmp_path / "x.csv"), "d", tmp_path / "out", **options)
    read = ItemColumns.read(folder / "d.item", ["d", "a", "c"])
    assert read.columns["price"].numbers.tolist()[:2] == [0.25, 9.5] and read.missing == 0
    assert [read.columns["group"].values[code] if code >= 0 else None for code in read.columns["group"].codes] == [
        None, "3", "7"
    ]  # fmt: skip
    monkeypatch.setattr(cache, "LEAST_BYTES", 0)
    first, second = cache.read_cached(folder, "d"), cache.read_cached(folder, "d")
    assert (folder / "d.cache.npz").exists()
    assert first.item_columns == second.item_columns == of_known(RIGHT) and first.titles == second.titles


def test_an_item_file_beside_the_log_is_taken_with_its_columns(tmp_path):
    (tmp_path / "in").mkdir()
    log = write_log(tmp_path / "in" / "x.csv", content=False).read_text()
    (tmp_path / "in" / "x.csv").unlink()
    (tmp_path / "in" / "x.inter").write_text(log.replace(",", "\t"))
    rows = ["item_id:token\tgroup:token\tprice:float", *(f"{i}\t{g}\t{p}" for i, (_, g, p) in KNOWN.items())]
    (tmp_path / "in" / "x.item").write_text("\n".join(rows))
    data = read_dataset(prepare(tmp_path / "in", "d", tmp_path / "out"), "d")
    assert data.item_columns == of_known(RIGHT) and data.titles == {}


def test_ends_of_lines_and_tabs_become_blanks(tmp_path):
    text = write_log(tmp_path / "x.csv").read_text().replace("Gamma & Co", '"Gamma\r\n & \tCo "')
    (tmp_path / "x.csv").write_text(text, newline="")
    folder = prepare(tmp_path / "x.csv", "d", tmp_path / "out", title="name", min_support=1)
    assert "c\tGamma & Co\n" in (folder / "d.item").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"item_columns": "grup"}, "no column 'grup'; did you mean group?"),
        ({"item_columns": "group,group:float"}, "group is named twice"),
        ({"item_columns": "group:number"}, "a column is token, float"),
        ({"item_columns": "name:float"}, "name:float: item 'a' has 'Alpha'; a finite number"),
        ({"item_columns": "name,item_id"}, "a second column 'item_id'"),
        ({"item_columns": "all"}, "no column 'all'"),
        ({"item_columns": "group", "items": "t.csv", "items_id": "sku", "title": "nme"}, "did you mean name?"),
        ({"item_columns": "brand", "items": "t.csv", "items_id": "sku"}, "no column 'brand'"),
        ({"item_columns": "tags", "items": "t.parquet", "items_id": "sku"}, "'tags' holds varchar[]"),
    ],
)
def test_refused_in_one_line(tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    write_log(tmp_path / "x.csv")
    table_csv(tmp_path / "t.csv")
    pq.write_table(pa.table({"sku": ["a"], "name": ["Alpha"], "tags": [["x", "y"]]}), "t.parquet")
    with pytest.raises(UserError) as caught:
        prepare("x.csv", "d", tmp_path / "out", **options)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "d").exists()


def test_the_command_says_what_it_took(tmp_path, capsys):
    log = write_log(tmp_path / "x.csv")
    argv = ["prepare", str(log), "--name=d", f"--out={tmp_path / 'out'}", "--title=name", "--item-columns=group,price"]
    assert main(argv) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "of items title, group:token, price:float" in said and "warning: 1 of 3 items have no price" in said
