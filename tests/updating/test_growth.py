"""A data set with newer sessions behind its own: what is appended, goes on, is dropped, held out or refused."""

from dataclasses import replace

import numpy as np
import pytest

from recbole_tme.data.catalogue import NamedSessions, assemble, catalogue
from recbole_tme.data.items import ItemTable
from recbole_tme.data.ragged import to_offsets
from recbole_tme.data.record import Record
from recbole_tme.data.sessions import Sessions
from recbole_tme.errors import UserError
from recbole_tme.updating.growth import grow

DAY = 86_400.0


def named(*rows):
    """Sessions from ``(name, first time, items as letters)``, a click every ten seconds, sorted by last click."""
    rows = sorted(rows, key=lambda row: row[1] + 10 * len(row[2]))
    letters = sorted({letter for *_, items in rows for letter in items})
    code = {letter: k + 1 for k, letter in enumerate(letters)}
    sessions = Sessions(
        items=np.array([code[letter] for *_, items in rows for letter in items], dtype=np.int32),
        offsets=to_offsets([len(items) for *_, items in rows]),
        ids=np.array([name for name, *_ in rows], dtype=object),
        times=np.concatenate([start + 10.0 * np.arange(len(items)) for _, start, items in rows]),
    )
    return NamedSessions(sessions, catalogue(letters))


def data_set(*rows):
    whole = named(*rows)
    none = replace(whole, sessions=whole.sessions.slice(0, 0))
    return assemble("shop", whole, none)


def words(data, sessions):
    """Sessions back as ``{name: letters}``."""
    return {name: "".join(data.tokens[sessions[k]]) for k, name in enumerate(sessions.ids)}


OLD = [("1", 0, "abc"), ("2", 100, "bcd"), ("3", 200, "ab"), ("4", DAY, "cd")]
NEW = [("5", 2 * DAY, "abx"), ("6", 2 * DAY + 100, "bxa"), ("7", 2 * DAY + 200, "axy"), ("8", 2 * DAY + 300, "xab")]


def grown(old=OLD, new=NEW, trained=3, record=None, **options):
    record = Record() if record is None else record
    return grow(data_set(*old), trained, named(*new), ItemTable(), record, **{"holdout": 0.25} | options)


def test_new_sessions_follow_the_old_ones_and_the_latest_are_held_out():
    growth = grown()
    assert words(growth.data, growth.data.train) == {
        "1": "abc", "2": "bcd", "3": "ab", "4": "cd", "5": "abx", "6": "bxa", "7": "axy",
    }  # fmt: skip
    assert words(growth.data, growth.data.test) == {"8": "xab"}
    assert growth.is_fresh.tolist() == [False, False, False, True, True, True, True]
    assert (growth.old_sessions, growth.new_sessions, growth.forgotten_sessions) == (4, 4, 0)


def test_sessions_that_the_data_set_holds_are_skipped():
    record = Record()
    assert words_of(grown(new=[*OLD, *NEW], record=record)) == words_of(grown())
    assert [(one.sessions, one.reason.split(" that ")[0]) for one in record.dropped] == [(4, "session")]


def words_of(growth):
    return words(growth.data, growth.data.train) | words(growth.data, growth.data.test)


@pytest.mark.parametrize("whole", [False, True])
def test_a_session_goes_on_where_the_new_log_begins(whole):
    # Session 4 ended at DAY + 10; the new log has the rest of it, or all of it.
    rest = ("4", DAY, "cdab") if whole else ("4", DAY + 20, "ab")
    growth = grown(new=[rest, *NEW])
    assert words_of(growth)["4"] == "cdab"
    assert list(growth.data.train.ids).count("4") == 1 and growth.old_sessions == 3
    place = list(growth.data.train.ids).index("4")
    assert growth.is_fresh[place] and place == 3
    assert (np.diff(growth.data.train.times[growth.data.train.offsets[1:] - 1]) > 0).all()


def test_an_id_that_is_given_again_is_another_session():
    growth = grown(new=[("4", 2 * DAY - 50, "ab"), *NEW])
    assert words_of(growth)["4"] == "cd" and words_of(growth)[f"4@{int(2 * DAY - 50)}"] == "ab"


def test_old_sessions_and_their_items_are_forgotten():
    old = [("0", 0, "zz"), *OLD]
    kept, gone = grown(old), grown(old, forget_after=1.5)
    assert "z" in kept.data.tokens and "z" not in gone.data.tokens
    assert gone.forgotten_sessions == 4 and list(gone.data.train.ids[:1]) == ["4"]
    assert gone.is_fresh.tolist() == [True] * 4


def test_rare_new_items_are_dropped_and_known_ones_never():
    record = Record()
    growth = grown(min_support=2, record=record)
    assert {"x", "d"} <= set(growth.data.tokens) and "y" not in growth.data.tokens
    assert record.dropped[0].clicks == 1 and "fewer than 2 times" in record.dropped[0].reason


def test_held_out_clicks_on_unseen_items_are_kept_for_the_next_update():
    new = [*NEW[:3], ("8", 2 * DAY + 300, "aqb")]
    growth = grown(new=new)
    assert words(growth.data, growth.data.test) == {"8": "ab"} and "q" not in growth.data.tokens
    whole = growth.data.whole_test
    assert "".join(whole.tokens[whole.sessions.items]) == "aqb"


@pytest.mark.parametrize(
    ("new", "options", "message"),
    [
        (OLD, {}, "the new log ends at 1970-01-02 00:00:10 and the run's data at 1970-01-02 00:00:10"),
        ([("9", -5 * DAY, "ab")], {}, "no newer session"),
        ([("5", 2 * DAY, "uv"), ("6", 3 * DAY, "vw")], {}, "none of the 3 items of the new log is among the 4 of"),
        (NEW[:1], {}, "leaves none to train on or none to measure on"),
        ([("5", 2 * DAY, "a"), ("6", 3 * DAY, "b")], {}, "0 new sessions of two clicks"),
        ([*NEW[:3], ("8", 2 * DAY + 300, "qr")], {}, "none of the latest new sessions has two clicks"),
    ],
)
def test_refused(new, options, message):
    with pytest.raises(UserError, match=message):
        grown(new=new, **options)


def test_a_data_set_without_times_has_no_end():
    old = data_set(*OLD)
    old = replace(old, train=replace(old.train, times=None))
    with pytest.raises(UserError, match="data set shop has no times"):
        grow(old, 4, named(*NEW), ItemTable(), Record(), holdout=0.25)
