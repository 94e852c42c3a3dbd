"""Lines of sessions to recommend for: what is none is refused, and what looks otherwise is warned of."""

import gzip
import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from recbole_tme.data.record import Record
from recbole_tme.errors import UserError
from recbole_tme.serving.session_files import read_sessions

CASES = Path(__file__).parents[1] / "fixtures" / "cases"


def piped(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))


@pytest.mark.parametrize(
    "text",
    ["session_id,item_id,timestamp\na,1,2\n", '{"session_id": "a"}\n', "[1, 2]\n", "<html><body>\n"],
)
def test_what_is_no_session_is_refused_from_the_standard_input_too(monkeypatch, text):
    piped(monkeypatch, text)
    with pytest.raises(UserError, match=r"standard input line 1: .* --format=clicks"):
        list(read_sessions("-"))
    piped(monkeypatch, text)
    assert len(list(read_sessions("-", "lines"))) == text.count("\n")


def warnings_of(path, **options):
    record = Record()
    sessions = list(read_sessions(str(path), record=record, **options))
    return len(sessions), record.warnings


def test_ids_of_users_among_the_items_are_warned_of():
    n, (text,) = warnings_of(CASES / "pairs.txt")
    assert n == 1138 and "--columns=session_id,item_id" in text
    n, (text,) = warnings_of(CASES / "userfirst.txt")
    assert n == 240 and "begins with another id" in text
    assert warnings_of(CASES / "userfirst.txt", form="lines") == (240, [])


def test_sessions_over_a_large_catalogue_are_not(tmp_path):
    (tmp_path / "x.txt").write_text("".join(f"{7 * n} {7 * n + 1} {7 * n + 2}\n" for n in range(50)))
    assert warnings_of(tmp_path / "x.txt") == (50, [])


def test_compressed_lines(tmp_path):
    (tmp_path / "x.txt.gz").write_bytes(gzip.compress(b"a b\nc\n"))
    assert [session.items for session in read_sessions(str(tmp_path / "x.txt.gz"))] == [["a", "b"], ["c"]]
