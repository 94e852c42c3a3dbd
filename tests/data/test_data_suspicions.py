"""What may be meant otherwise: refused in one line where it cannot be right, and warned of where it may be wrong."""

import json

import pytest

from recbole_tme.data.prepare import prepare
from recbole_tme.errors import UserError

HEADER = "session_id,item_id,timestamp"


def write(path, header=HEADER, session="s{}", item="i{}"):
    rows = [f"{session.format(k // 4)},{item.format(k % 7)},{1_569_888_616 + 30 * k}" for k in range(200)]
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def warnings(folder) -> str:
    return "\n".join(json.loads((folder / f"{folder.name}.json").read_text())["record"]["warnings"])


def test_a_file_that_is_named_twice(tmp_path):
    path = write(tmp_path / "a.csv")
    (tmp_path / "b.csv").symlink_to(path)
    for sources in ([path, path], [path, tmp_path / "*.csv"], [path, tmp_path / "b.csv"]):
        with pytest.raises(UserError, match="named twice"):
            prepare(sources, "d", tmp_path / "out")


@pytest.mark.parametrize(
    "options",
    [
        {"session": "item_id"},
        {"item": "session_id"},
        {"time": "item_id"},
        {"session": "session_id,timestamp"},
    ],
)
def test_one_column_for_two_things(tmp_path, options):
    with pytest.raises(UserError, match="cannot be both of --session, --item and --time"):
        prepare(write(tmp_path / "a.csv"), "d", tmp_path / "out", **options)


def test_excels_first_line(tmp_path):
    with pytest.raises(UserError, match="line 1: names the separator for Excel"):
        prepare(write(tmp_path / "a.csv", f"sep=,\n{HEADER}"), "d", tmp_path / "out")


@pytest.mark.parametrize("name", ["NA", "nan", "NULL", "None", "-1"])
def test_names_that_stand_for_none(tmp_path, name):
    text = write(tmp_path / "a.csv").read_text().replace("s7,", f"{name},").replace(",i3,", f",{name},")
    (tmp_path / "a.csv").write_text(text)
    folder = prepare(tmp_path / "a.csv", "d", tmp_path / "out")
    assert f"4 clicks have the session_id '{name}'" in warnings(folder)
    assert f"clicks have the item_id '{name}'" in warnings(folder)
    left_out = f"session_id <> '{name}' and item_id <> '{name}'"
    assert "stands for" not in warnings(prepare(tmp_path / "a.csv", "e", tmp_path / "out", where=left_out))


def test_a_table_of_other_ids(tmp_path):
    (tmp_path / "t.csv").write_text("item_id,name\n0,Lamp\n1,Chair\n")
    folder = prepare(write(tmp_path / "a.csv"), "d", tmp_path / "out", items=tmp_path / "t.csv")
    assert "7 of 7 items have no title: are their ids written otherwise?" in warnings(folder)
