"""Small files that hold far too much, and files that only look like text: one line, and little memory or disk."""

import bz2
import dataclasses
import gzip
import io
import lzma
import pickle
import pickletools
import resource
import shutil
import tarfile
import time
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recbole_tme.cli import main
from recbole_tme.data.item_vectors import read_vectors
from recbole_tme.data.readers.forms import PICKLE, TEXT, form_of
from recbole_tme.errors import UserError
from recbole_tme.evaluation.ranks import Ranks
from tests.helpers.attack import command

pytestmark = pytest.mark.slow

PACKERS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda content: pa.compress(content, "zstd", asbytes=True),
}
SESSIONS = ([[1, 2], [2, 3, 4]] * 9, [3, 1] * 9)


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def prepare(name, *options):
    """Import a file, with a bound on what that may take."""
    # Pages that were touched here count in the child, too.
    most = 3 * 10**9

    def bounded():
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))

    free = shutil.disk_usage(".").free
    outcome = command("prepare", name, "--name=set", "--out=data", *options, before=bounded)
    assert free - shutil.disk_usage(".").free < 4 * 10**8
    return outcome


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("head", ["", "session,item,time\n"], ids=["lines", "clicks"])
def test_a_compressed_file_that_unpacks_without_end_is_refused_on_the_way(head, suffix, tmp_path):
    (tmp_path / f"log.csv.{suffix}").write_bytes(PACKERS[suffix](head.encode() + b"a" * (12 * 10**7)))
    outcome = prepare(f"log.csv.{suffix}")
    assert outcome.code == 2 and outcome.problem() is None and "are no log" in outcome.err, outcome.err


def test_a_parquet_file_of_one_value_a_billion_times(tmp_path):
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(5 * 10**7, dtype=np.int32)), pa.array(["a"]))
    table = pa.table({"session": column, "item": column})
    with pq.ParquetWriter(tmp_path / "log.parquet", table.schema) as writer:
        for _ in range(3):
            writer.write_table(table)
    outcome = prepare("log.parquet", "--file-order")
    assert outcome.code == 2 and "150,000,000 rows" in outcome.err, outcome.err


@pytest.mark.parametrize("kind", ["nulls", "runs"])
def test_a_feather_file_of_nothing_a_billion_times(kind, tmp_path):
    ends = pa.array([2 * 10**9], pa.int32())
    column = pa.nulls(3 * 10**8) if kind == "nulls" else pa.RunEndEncodedArray.from_arrays(ends, pa.array(["a"]))
    with pa.ipc.new_file(tmp_path / "log.feather", pa.schema([("session", column.type), ("item", column.type)])) as out:
        out.write_batch(pa.record_batch([column, column], names=["session", "item"]))
    outcome = prepare("log.feather", "--file-order")
    assert (
        outcome.code == 2 and outcome.problem() is None and ("000 rows in" in outcome.err or "run_end" in outcome.err)
    ), outcome.err


@pytest.mark.parametrize("name", ["log.csv", "log.tsv", "log.inter"])
def test_a_header_of_a_million_columns(name, tmp_path):
    (tmp_path / name).write_text(("\t" if name != "log.csv" else ",").join(f"c{i}" for i in range(10**6)) + "\n")
    started = time.monotonic()
    outcome = prepare(name)
    assert outcome.code == 2 and "1,000,000 columns" in outcome.err and time.monotonic() - started < 60, outcome.err


def test_a_pickle_of_one_list_a_million_times(tmp_path):
    row = list(range(20_000))
    for name in ("train", "test"):
        (tmp_path / name).write_bytes(pickle.dumps([row] * 20_000, protocol=2))
    outcome = prepare("train")
    assert outcome.code == 2 and "in so small a file are no log" in outcome.err, outcome.err


def test_arrays_that_promise_more_than_there_is_memory_for(tmp_path):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<i4", "fortran_order": False, "shape": (2, 10**13)})
    (tmp_path / "vectors.npy").write_bytes(head.getvalue())
    (tmp_path / "vectors.txt").write_text("a\nb\n")
    with zipfile.ZipFile(tmp_path / "ranks.npz", "w") as archive:
        for field in dataclasses.fields(Ranks):
            archive.writestr(f"{field.name}.npy", head.getvalue())
    for read, file in ((read_vectors, "vectors.npy"), (Ranks.load, "ranks.npz")):
        with pytest.raises(UserError, match=file):
            read(tmp_path / file)


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("smaller", [False, True])
def test_a_pickle_of_any_protocol_is_read_as_a_pickle(protocol, smaller, tmp_path):
    for name in ("all_train_seq.txt", "test.txt"):
        content = pickle.dumps(SESSIONS, protocol=protocol)
        (tmp_path / name).write_bytes(pickletools.optimize(content) if smaller else content)
    assert form_of(tmp_path / "test.txt") == PICKLE
    assert main(["prepare", ".", "--name=set", "--out=data"]) == 0
    # The sessions themselves, each prefix folded into its session.
    assert len((tmp_path / "data" / "set" / "set.train.inter").read_text().splitlines()) == 1 + 18 + 27 + 18


def archive():
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as content:
        content.addfile(tarfile.TarInfo("log.csv"), io.BytesIO(b""))
    return packed.getvalue()


# Formats whose beginning is letters for a part, or quite.
NOT_TEXT = {
    "an array in a pickle": pickle.dumps(np.arange(9), protocol=0),
    "a dict in a pickle": pickle.dumps({"a": [1]}, protocol=1),
    "a pickle that calls": b"cposix\nsystem\n(S'touch called'\ntR.",
    "a tar archive": archive(),
    "a tar archive, packed": gzip.compress(archive()),
    "MATLAB": b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + b" " * 78 + bytes(8) + b"\x00\x01IM",
    "R, packed": gzip.compress(b"X\n\x00\x00\x00\x03\x00\x04\x03\x02"),
    "R": b"RDX3\nX\n\x00\x00\x00\x03",
    "Stata": b"<stata_dta><header><release>118",
    "SPSS": b"$FL2@(#) SPSS DATA FILE" + bytes(20),
    "TensorFlow": b"\x12\x00\x00\x00\x00\x00\x00\x00abcd",
    "DuckDB": bytes(8) + b"DUCK" + bytes(90),
    "Arrow's stream": b"\xff\xff\xff\xff\x10\x00\x00\x00" + bytes(90),
    "PostScript": b"%!PS-Adobe-3.0\n",
    "rich text": b"{\\rtf1\\ansi hello}",
    "gzip without an end": gzip.compress(b"a b\n" * 999)[:30],
    "lz4": b"\x04\x22\x4d\x18" + bytes(30),
    "compress": b"\x1f\x9d\x90ab" + bytes(30),
    "msgpack": b"\x93\x93\x01\x02\x03" * 30,
    "LMDB": bytes(16) + b"\xde\xc0\xef\xbe" + bytes(80),
}


@pytest.mark.parametrize("what", NOT_TEXT)
@pytest.mark.parametrize("name", ["log.csv", "sessions", "log.inter"])
def test_a_binary_file_is_not_read_as_text(name, what, tmp_path, capsys):
    (tmp_path / name).write_bytes(NOT_TEXT[what])
    for words in (["prepare", name, "--name=set", "--out=data"], ["prepare", name, "--name=set", "--format=lines"]):
        assert main(words) == 2, what
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and name in line
    assert not (tmp_path / "data").exists() and not (tmp_path / "called").exists()


@pytest.mark.parametrize(
    "content", [b"(a b c\nd e\n", b"c1\nc2\nc3\n", b"((((a b\n", b"] a\n", b"(lp) x\n", b"I1\nI2\n"]
)
def test_text_that_begins_like_a_pickle_is_text(content, tmp_path):
    (tmp_path / "x").write_bytes(content)
    assert form_of(tmp_path / "x") == TEXT


@pytest.mark.parametrize("encoding", ["hex", "rot13", "zlib", "nothing", "é"])
def test_an_encoding_that_is_none_of_text(encoding, tmp_path, capsys):
    (tmp_path / "log.csv").write_text("session,item,time\na,b,1\n")
    assert main(["prepare", "log.csv", "--name=set", "--out=data", f"--encoding={encoding}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: encoding={encoding}: unknown")


def test_utf_16_without_a_mark_is_read_as_the_message_says(tmp_path, capsys):
    rows = "".join(f"s{i},i{(i * k) % 3},{100 * i + k}\n" for i in range(30) for k in range(4))
    (tmp_path / "log.csv").write_bytes(("session,item,time\n" + rows).encode("utf-16-le"))
    words = ["prepare", "log.csv", "--name=set", "--out=data", "--min-support=1"]
    assert main(words) == 2 and "--encoding=utf-16-le" in capsys.readouterr().err
    assert main([*words, "--encoding=utf-16-le"]) == 0
