"""Every bad file is one clear line that names the file and, where there is one, the line."""

import gzip
import pickle

import pytest
from helpers.expecting import fails

from recbole_tme.data.items import ItemColumn, ItemTable
from recbole_tme.data.readers.atomic import read_dataset
from recbole_tme.data.readers.inter import read_inter, read_item_file
from recbole_tme.data.readers.lines import read_lines
from recbole_tme.data.readers.pickles import read_pickle
from recbole_tme.errors import UserError

CLICKS = "session_id:token\titem_id:token\ttimestamp:float\n"
PLAIN = "session_id:token\titem_id:token\n"
ROWS = "session_id:token\titem_id_list:token_seq\titem_id:token\n"
GOOD_CLICKS = "1\ta\t1\n1\tb\t2\n"
GOOD_ROWS = "1\ta b\tc\n2\ta\tb\n"


# (name, content, line, words of the message); the rows of a data set's own files.
INTER_CASES = [
    ("empty file", b"", None, ["empty"]),
    ("nothing but blank lines", b"\n\n", None, ["empty"]),
    ("blank line before the header", b"\n" + PLAIN.encode() + b"1\ta\n1\tb\n", 1, ["header"]),
    ("header alone", CLICKS.encode(), None, ["no rows"]),
    ("binary file", b"\x89PNG\r\n\x1a\n\x00\x00\xff\xfe" * 20, None, ["UTF-8"]),
    ("header without types", "session_id\titem_id\n1\ta\n1\tb\n", 1, ["session_id:token"]),
    ("wrong type", "session_id:token\titem_id:float\n1\t2\n1\t3\n", 1, ["item_id:float", "item_id:token"]),
    ("time declared token", "session_id:token\titem_id:token\ttimestamp:token\n" + GOOD_CLICKS, 1, ["timestamp:float"]),
    (
        "misspelt column",
        "session_id:token\titem_id:token\ttimestmp:float\n" + GOOD_CLICKS,
        1,
        ["timestmp", "did you mean timestamp?"],
    ),
    ("missing item column", "session_id:token\ttimestamp:float\n1\t2\n", 1, ["item_id:token"]),
    ("missing session column", "item_id:token\na\nb\n", 1, ["session_id:token"]),
    ("column twice", "session_id:token\titem_id:token\titem_id:token\n1\ta\tb\n", 1, ["twice"]),
    ("spaces for tabs", "session_id:token item_id:token\n1 a\n1 b\n", 1, ["tabs"]),
    ("empty item", PLAIN + "1\ta\n1\tb\n2\t\n2\tc\n", 4, ["empty item_id"]),
    ("empty session", PLAIN + "1\ta\n1\tb\n\tc\n", 4, ["empty session_id"]),
    ("too few fields", CLICKS + GOOD_CLICKS + "2\tc\n", 4, ["2 fields", "3"]),
    ("truncated last line", CLICKS + GOOD_CLICKS + "2\tc", 4, ["2 fields", "3"]),
    ("too many fields", PLAIN + "1\ta\n1\tb\tc\n", 3, ["3 fields", "2"]),
    ("time that is text", CLICKS + GOOD_CLICKS + "2\tc\tnoon\n", 4, ["'noon'"]),
    ("time NaN", CLICKS + "1\ta\tNaN\n1\tb\t2\n", 2, ["'NaN'"]),
    ("time infinite", CLICKS + GOOD_CLICKS + "1\tc\tinf\n", 4, ["'inf'"]),
    ("time empty", CLICKS + GOOD_CLICKS + "1\tc\t\n", 4, ["timestamp"]),
    ("time with underscores", CLICKS + GOOD_CLICKS + "1\tc\t1_0\n", 4, ["'1_0'"]),
    ("not UTF-8", (PLAIN + "1\ta\n1\t").encode() + b"caf\xe9\n", 3, ["UTF-8"]),
    ("line numbers count blank lines", PLAIN + "1\ta\n\n\n1\tb\n\n2\t\n", 7, ["empty item_id"]),
    ("line numbers with carriage returns", (PLAIN + "1\ta\n1\t\n").replace("\n", "\r\n"), 3, ["empty item_id"]),
    ("line numbers after a byte order mark", "\ufeff" + PLAIN + "1\ta\n1\t\n", 3, ["empty item_id"]),
    ("session that returns", PLAIN + "1\ta\n1\tb\n2\ta\n2\tb\n1\tc\n", 6, ["'1'", "returns"]),
    ("clicks out of time", CLICKS + "1\ta\t5\n1\tb\t4\n", 3, ["earlier", "prepare"]),
    ("sessions out of time", CLICKS + "1\ta\t5\n1\tb\t6\n2\ta\t1\n2\tb\t2\n", 4, ["order", "prepare"]),
    ("sessions of one click", PLAIN + "1\ta\n2\tb\n", None, ["one click only"]),
    ("target flag", "session_id:token\titem_id:token\tis_target:float\n1\ta\t0\n1\tb\t2\n", 3, ["is_target"]),
    # Prefix rows.
    ("rows: header alone", ROWS, None, ["no rows"]),
    ("rows: no item_id", "session_id:token\titem_id_list:token_seq\n1\ta\n", 1, ["item_id:token"]),
    ("rows: no session_id", "item_id_list:token_seq\titem_id:token\na\tb\n", 1, ["session_id:token"]),
    ("rows: no item_id_list", PLAIN + "1\ta\n2\tb\n", None, ["one click only"]),
    ("rows: list declared token", ROWS.replace("token_seq", "token") + GOOD_ROWS, 1, ["item_id_list:token_seq"]),
    (
        "rows: list declared float_seq",
        ROWS.replace("token_seq", "float_seq") + GOOD_ROWS,
        1,
        ["item_id_list:token_seq"],
    ),
    ("rows: target declared float", ROWS.replace("item_id:token", "item_id:float") + GOOD_ROWS, 1, ["item_id:token"]),
    ("rows: header without types", "session_id\titem_id_list\titem_id\n" + GOOD_ROWS, 1, ["session_id:token"]),
    ("rows: unknown column", ROWS.replace("\n", "\tx:token\n") + "1\ta\tb\tc\n", 1, ["x:token"]),
    ("rows: empty target", ROWS + GOOD_ROWS + "3\ta\t\n", 4, ["empty item_id"]),
    ("rows: empty list", ROWS + GOOD_ROWS + "3\t\ta\n", 4, ["empty item_id_list"]),
    ("rows: empty list first", ROWS + "3\t\ta\n" + GOOD_ROWS, 2, ["empty item_id_list"]),
    ("rows: two spaces", ROWS + GOOD_ROWS + "3\ta  b\ta\n", 4, ["single spaces"]),
    ("rows: space at the end", ROWS + "3\ta b \ta\n" + GOOD_ROWS, 2, ["single spaces"]),
    ("rows: truncated last line", ROWS + GOOD_ROWS + "3\ta b", 4, ["2 fields", "3"]),
    ("rows: extra field", ROWS + "1\ta b\tc\td\n", 2, ["4 fields", "3"]),
    ("rows: not UTF-8", ROWS.encode() + b"1\ta \xff\tc\n", 2, ["UTF-8"]),
]


@pytest.mark.parametrize("content,line,words", [c[1:] for c in INTER_CASES], ids=[c[0] for c in INTER_CASES])
def test_inter_file(tmp_path, content, line, words):
    path = tmp_path / "d.train.inter"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    fails(read_inter, path, *words, line=line)


# What RecBole takes without a word or trips over, and what it is: plain tokens.
SURVIVORS = [
    ("negative ids and zero", PLAIN + "1\t-5\n1\t0\n", ["-5", "0"]),
    ("lone quote", PLAIN + '1\t"a\n1\tb\n', ['"a', "b"]),
    ("balanced quotes", PLAIN + '1\t"a\n1\tb"\n', ['"a', 'b"']),
    ("literal NaN", PLAIN + "1\tNaN\n1\tNA\n", ["NaN", "NA"]),
    ("rows: literal NaN", ROWS + "1\tNaN null\tNA\n2\tNaN\tnull\n", ["NaN", "null", "NA"]),
    ("rows: quotes", ROWS + '1\t"a "b\tc"\n', ['"a', '"b', 'c"']),
    ("rows: one row", ROWS + "1\ta\tb\n", ["a", "b"]),
    ("no end of the last line", PLAIN + "1\ta\n1\tb", ["a", "b"]),
]


@pytest.mark.parametrize("content,clicks", [c[1:] for c in SURVIVORS], ids=[c[0] for c in SURVIVORS])
def test_inter_file_that_only_looks_bad(tmp_path, content, clicks):
    (tmp_path / "d.inter").write_text(content)
    found = read_inter(tmp_path / "d.inter")
    assert found.tokens[found.sessions.items].tolist() == clicks


def test_missing_file_and_folder(tmp_path):
    fails(read_inter, tmp_path / "absent.inter", "no such file")
    fails(read_inter, tmp_path, "directory")
    with pytest.raises(UserError, match=r"d\.train\.inter: no such file; .*d\.test\.inter"):
        read_dataset(tmp_path, "d")
    (tmp_path / "d.train.inter").write_text(PLAIN + "1\ta\n1\tb\n")
    with pytest.raises(UserError, match=r"d\.test\.inter: no such file"):
        read_dataset(tmp_path, "d")


def test_unsplit_file_in_the_place_of_a_data_set(tmp_path):
    (tmp_path / "d.inter").write_text(CLICKS + GOOD_CLICKS)
    with pytest.raises(UserError, match="not split: run recbole-tme prepare"):
        read_dataset(tmp_path, "d")


def test_item_called_like_the_padding(tmp_path):
    for split in ("train", "test"):
        (tmp_path / f"d.{split}.inter").write_text(PLAIN + "1\ta\n1\t[PAD]\n")
    with pytest.raises(UserError, match=r"d: an item is called \[PAD\].*rename"):
        read_dataset(tmp_path, "d")


def test_item_file(tmp_path):
    path = tmp_path / "d.item"
    path.write_text("item:token\ttitle:token_seq\n1\tx\n")
    fails(read_item_file, path, "item_id:token", "did you mean item?", line=1)
    path.write_text("item_id:token\ttitle:token_seq\n1\tx\n2\n")
    fails(read_item_file, path, "1 fields", line=3)
    path.write_text("item_id:token\tprice:float\n1\t2\n")
    assert read_item_file(path) == ItemTable({}, {"price": ItemColumn("float", {"1": "2"})})


@pytest.mark.parametrize(
    "content,line,words",
    [
        (b"", None, ["empty"]),
        (b"  \n\n", None, ["empty"]),
        (b"1 2\n1 \xff\n", 2, ["UTF-8"]),
        (b"1 2\n\x00\n", 2, ["zero byte"]),
    ],
)
def test_session_lines(tmp_path, content, line, words):
    path = tmp_path / "train.txt"
    path.write_bytes(content)
    fails(read_lines, path, *words, line=line)


@pytest.mark.parametrize("read", [read_inter, read_lines, read_pickle])
def test_damaged_gzip(tmp_path, read):
    path = tmp_path / "x.gz"
    whole = gzip.compress(PLAIN.encode() + b"".join(b"%d\t%d\n" % (k // 2, k * k) for k in range(2000)))
    for damaged in (whole[:30], whole[: len(whole) - 4], whole[:12] + b"\xff\xff\xff\xff" + whole[16:]):
        path.write_bytes(damaged)
        fails(read, path, "damaged or incomplete")


class Calls:
    def __reduce__(self):
        return (print, ("called",))


PICKLE_CASES = [
    ("wants to call", pickle.dumps([[1, 2], Calls()]), ["builtins.print", "refused"]),
    ("wants to call, first protocol", pickle.dumps(Calls(), protocol=0), ["print", "refused"]),
    ("empty", b"", ["damaged"]),
    ("no pickle", b"1 2 3\n", ["damaged"]),
    ("a number", pickle.dumps(7), ["list of sessions"]),
    ("an empty list", pickle.dumps([]), ["list of sessions"]),
    ("a dictionary", pickle.dumps({"a": [1]}), ["list of sessions"]),
    ("a session that is a number", pickle.dumps([[1, 2], 3, [4]]), ["entry 2", "3"]),
    ("an empty session", pickle.dumps([[1, 2], []]), ["entry 2"]),
    ("unequal lengths", pickle.dumps(([[1], [2]], [3])), ["2 prefixes", "1 targets"]),
    ("an empty prefix", pickle.dumps(([[1], []], [2, 3])), ["entry 2"]),
    ("no instances", pickle.dumps(([], [])), ["no instances"]),
    ("items of two kinds", pickle.dumps([[1, "2"]]), ["int", "str"]),
    ("items that are fractions", pickle.dumps([[1.5, 2.5]]), ["float"]),
    ("items that are lists", pickle.dumps([[[1], [2]], [[3]], [[4]]]), ["list"]),
    ("an item without name", pickle.dumps([["a", ""]]), ["empty item"]),
    ("an item beyond 64 bits", pickle.dumps([[1, 1 << 70]]), ["64 bits"]),
]


@pytest.mark.parametrize("content,words", [c[1:] for c in PICKLE_CASES], ids=[c[0] for c in PICKLE_CASES])
def test_pickle(tmp_path, capsys, content, words):
    path = tmp_path / "test.txt"
    path.write_bytes(content)
    fails(read_pickle, path, *words)
    assert capsys.readouterr().out == ""


def test_pickle_cut_anywhere(tmp_path):
    whole = pickle.dumps([[k, k + 1] for k in range(300)], protocol=2)
    path = tmp_path / "all_train_seq.txt"
    for length in range(1, len(whole), 97):
        path.write_bytes(whole[:length])
        fails(read_pickle, path, "damaged or incomplete")
