"""The same sessions in every supported form give the same data set, by its content hash."""

import bz2
import gzip
import io
import json
import lzma
import random
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_tme.data.prepare import prepare

START = 1_569_888_616
NAMES = ["s", "i", "t"]
Row = tuple[str, str, int]


def packed(content: bytes, packing: str) -> bytes:
    if packing == "zst":
        return pa.compress(content, codec="zstd", asbytes=True)
    return {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[packing](content)


def delimited(rows: list[Row], mark: str = ",", quoted: bool = False, end: str = "\n") -> str:
    def shown(field) -> str:
        text = str(field)
        if quoted or (mark in ",;|" and any(c in text for c in f'"{mark}')):
            return '"' + text.replace('"', '""') + '"'
        return text

    return end.join(mark.join(map(shown, row)) for row in [NAMES, *rows]) + end


def csv_file(folder: Path, rows: list[Row], **how) -> Path:
    (folder / "x.csv").write_bytes(delimited(rows, **how).encode())
    return folder / "x.csv"


def table(rows: list[Row]) -> pa.Table:
    return pa.table(dict(zip(NAMES, map(list, zip(*rows)))))


def parquet(folder, rows):
    pq.write_table(table(rows), folder / "x.bin", row_group_size=3)
    return folder / "x.bin"


def feather(folder, rows):
    pa.feather.write_feather(table(rows), folder / "x.feather", chunksize=4)
    return folder / "x.feather"


def json_lines(folder, rows):
    (folder / "x.log").write_text("\n".join(json.dumps(dict(zip(NAMES, row)), ensure_ascii=False) for row in rows))
    return folder / "x.log"


def json_array(folder, rows):
    (folder / "x.json").write_text(json.dumps([dict(zip(NAMES, row)) for row in rows], indent=1))
    return folder / "x.json"


def otto(folder, rows):
    sessions = {}
    for s, i, t in rows:
        sessions.setdefault(s, []).append({"i": i, "t": t, "type": "clicks"})
    (folder / "x.jsonl").write_text("".join(json.dumps({"s": s, "events": e}) + "\n" for s, e in sessions.items()))
    return folder / "x.jsonl"


def shuffled(folder, rows):
    rows = list(rows)
    random.Random(len(rows)).shuffle(rows)
    return csv_file(folder, rows)


def compressed(packing):
    def write(folder, rows):
        (folder / "x.csv").write_bytes(packed(delimited(rows).encode(), packing))
        return folder / "x.csv"

    return write


def zipped(folder, rows):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside/x.csv", delimited(rows))
    (folder / "x.zip").write_bytes(buffer.getvalue())
    return folder / "x.zip"


def several(folder, rows):
    for k in range(3):
        (folder / f"part-{k}.tsv").write_text(delimited(rows[k::3] or rows[:0], "\t"))
    return sorted(folder.glob("part-*"))


def pattern(folder, rows):
    several(folder, rows)
    return folder / "part-*.tsv"


def hive(folder, rows):
    rows = table(rows)
    for day, part in enumerate([pa.concat_tables([rows.slice(0, 1), rows.slice(2)]), rows.slice(1, 1)]):
        (folder / f"day={day}").mkdir(exist_ok=True)
        pq.write_table(part, folder / f"day={day}" / "x.parquet")
    return folder


def utf16(folder, rows):
    (folder / "x.csv").write_bytes(delimited(rows).encode("utf-16"))
    return folder / "x.csv"


def mixed_ends(folder, rows):
    lines = delimited(rows).splitlines()
    (folder / "x.csv").write_bytes("".join(line + ("\r\n" if k % 2 else "\n") for k, line in enumerate(lines)).encode())
    return folder / "x.csv"


FORMS = {
    "csv": csv_file,
    "quoted semicolons": lambda folder, rows: csv_file(folder, rows, mark=";", quoted=True),
    "tabs, carriage returns": lambda folder, rows: csv_file(folder, rows, mark="\t", end="\r\n"),
    "double colons": lambda folder, rows: csv_file(folder, rows, mark="::"),
    "mixed ends of lines": mixed_ends,
    "shuffled": shuffled,
    "json lines": json_lines,
    "json array": json_array,
    "otto": otto,
    "parquet": parquet,
    "feather": feather,
    **{packing: compressed(packing) for packing in ("gz", "bz2", "xz", "zst")},
    "zip": zipped,
    "several files": several,
    "pattern": pattern,
    "hive": hive,
    "utf-16": utf16,
}
# No tab, colon or end of a line: where those are syntax no quotes can hide them.
letters = st.characters(
    codec="utf-8", exclude_characters="\t\r\n:\0", exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")
)
ids = st.text(letters, min_size=1, max_size=4)


@st.composite
def logs(draw) -> list[Row]:
    """Rows in order of time, no two at the same; the last sessions click what the first do."""
    n = draw(st.integers(6, 14))
    sessions = draw(st.lists(ids, min_size=4, max_size=5, unique=True))
    items = draw(st.lists(ids.filter(lambda text: text != "[PAD]"), min_size=2, max_size=4, unique=True))
    rows = [(session, item) for session in sessions for item in items[:2]]
    rows += [(draw(st.sampled_from(sessions)), draw(st.sampled_from(items))) for _ in range(n)]
    rows += [(session, item) for session in sessions for item in items[:2]]
    return [(session, item, START + 7 * k) for k, (session, item) in enumerate(rows)]


@given(logs())
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_one_log_in_every_form_is_one_data_set(tmp_path_factory, rows):
    hashes = {}
    for name, write in FORMS.items():
        folder = tmp_path_factory.mktemp("form")
        (folder / "in").mkdir()
        options = {"session": "s", "item": "i", "time": "t", "min_support": 1, "test_ratio": 0.3}
        made = prepare(write(folder / "in", rows), "d", folder / "out", **options)
        hashes[name] = json.loads((made / "d.json").read_text(encoding="utf-8"))["content_sha256"]
    assert len(set(hashes.values())) == 1, hashes


def test_another_log_has_another_hash(tmp_path):
    rows = [(f"s{k % 4}", f"i{k % 3}", START + k) for k in range(24)]
    made = []
    for name, some in (("a", rows), ("b", rows[:-1])):
        options = {"session": "s", "item": "i", "time": "t", "min_support": 1, "test_ratio": 0.3}
        folder = prepare(csv_file(tmp_path, some), name, tmp_path / "out", **options)
        made.append(json.loads((folder / f"{name}.json").read_text())["content_sha256"])
    assert made[0] != made[1]


@pytest.mark.parametrize("version", ["file", "folder"])
def test_a_partition_is_a_column(tmp_path, version):
    rows = [(f"s{k % 4}", f"i{k % 3}", START + k) for k in range(24)]
    (tmp_path / "log" / "kind=view").mkdir(parents=True)
    (tmp_path / "log" / "kind=cart").mkdir()
    csv_file(tmp_path / "log" / "kind=view", rows)
    csv_file(tmp_path / "log" / "kind=cart", [("s9", "zzz", START)])
    source = tmp_path / "log" if version == "folder" else tmp_path / "log" / "*" / "x.csv"
    options = {"session": "s", "item": "i", "time": "t", "min_support": 1, "test_ratio": 0.3}
    folder = prepare(source, "d", tmp_path / "out", where="kind = 'view'", **options)
    assert "zzz" not in (folder / "d.train.inter").read_text()
    assert json.loads((folder / "d.json").read_text())["record"]["read"]["files"] == 2
