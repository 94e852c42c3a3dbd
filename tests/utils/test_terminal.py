"""Lines of progress: what is said on a terminal, without one, without rich, in a notebook, and with --quiet."""

import builtins
import sys
import time
from types import SimpleNamespace

import pytest
from helpers.screens import on_terminal

from recbole_tme.utils import terminal

SENTENCE = "a note of words that together do not fit a line, " * 4


@pytest.fixture
def no_rich(monkeypatch):
    """rich is not installed."""
    real = builtins.__import__

    def importing(name, *args, **kwargs):
        if name.partition(".")[0] == "rich":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", importing)


def test_on_a_terminal_there_are_colours_unless_they_are_not_wanted(monkeypatch):
    shown = on_terminal(monkeypatch)
    terminal.say("MRR@20 ", ("34.92", "good"))
    assert "\x1b[32m" in shown.getvalue() and shown.lines == ["MRR@20 34.92"]
    shown = on_terminal(monkeypatch, NO_COLOR="1")
    terminal.say("MRR@20 ", ("34.92", "good"))
    assert shown.getvalue() == "MRR@20 34.92\n"


def test_without_a_terminal_there_are_plain_lines(capsys):
    with terminal.live(lambda: [["live"]]), terminal.bar("ranking", 3) as bar:
        for _ in range(3):
            time.sleep(0.2)
            bar.advance()
        terminal.say("epoch 1 ", ("*best", "good"))
    assert capsys.readouterr().err == "epoch 1 *best\n"


@pytest.mark.parametrize("columns", [None, 80, 40])
def test_prose_is_folded_and_words_stay_whole(monkeypatch, capsys, columns):
    path = "/".join(["folder"] * 20)
    shown = None if columns is None else on_terminal(monkeypatch, columns)
    terminal.note(f"{SENTENCE}see {path}")
    lines = capsys.readouterr().err.splitlines() if shown is None else shown.lines
    assert max(len(line) for line in lines if path not in line) <= (columns or 80)
    assert any(path in line for line in lines)
    assert " ".join(" ".join(lines).split()) == f"note: {SENTENCE}see {path}"


def test_live_lines_are_drawn_in_place_below_what_is_said(monkeypatch):
    shown = on_terminal(monkeypatch)
    count = [0]
    with terminal.live(lambda: [[f"at work {count[0]}"], ["x" * 200]]):
        time.sleep(0.7)
        terminal.say("done 1")
        terminal.say("y" * 100)
        count[0] = 1
        time.sleep(0.3)
    assert "at work 0" in shown.getvalue() and "at work 1" in shown.getvalue()
    # What was live is gone in the end, and was never wider than the terminal.
    assert shown.lines == ["done 1", "y" * 100] and "x" * 81 not in shown.getvalue()


def test_a_bar_says_how_far_and_how_long(monkeypatch):
    bar = terminal.Bar("epoch 2/5", 94, "batches")
    bar.began -= 10
    bar.advance(47)
    text = "".join(piece if isinstance(piece, str) else piece[0] for piece in bar.pieces())
    assert text.startswith("epoch 2/5  ━━━━━━━━━━──────────  47/94 batches") and text.endswith("about 10 s left")
    assert len(text) <= 80


def test_what_is_short_is_not_told(monkeypatch):
    shown = on_terminal(monkeypatch)
    with terminal.step("reading"):
        pass
    assert shown.lines == []
    with terminal.saying(verbose=True), terminal.step("reading") as came_out:
        came_out("12 clicks")
    assert shown.lines == ["reading: 12 clicks  0.0 s"]


def test_quiet_leaves_warnings_and_verbose_adds_details(capsys):
    def talk():
        for speak in (terminal.say, terminal.say_folded, terminal.note, terminal.detail, terminal.warn):
            speak(speak.__name__)

    with terminal.saying(quiet=True):
        talk()
    assert capsys.readouterr().err == "warning: warn\n"
    talk()
    assert capsys.readouterr().err.splitlines() == ["say", "say_folded", "note: note", "warning: warn"]
    with terminal.saying(verbose=True):
        talk()
    assert "detail" in capsys.readouterr().err.splitlines()
    assert terminal.output() == terminal.NORMAL


def test_without_rich_everything_is_plain(monkeypatch, no_rich):
    shown = on_terminal(monkeypatch)
    terminal.say("epoch 1 ", ("*best", "good"))
    with terminal.live(lambda: [["never"]]):
        terminal.say("between")
    with terminal.bar("ranking", 2, "batches") as bar:
        bar.advance(2)
    assert "epoch 1 *best\nbetween\n" in shown.getvalue() and "never" not in shown.getvalue()
    assert "\x1b[3" not in shown.getvalue()


def test_a_notebook_has_lines_in_its_output_and_tqdms_bars(monkeypatch, capsys):
    made = []

    class Bar:
        def __init__(self, **settings):
            made.append(settings["desc"])

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, amount):
            made.append(amount)

    shell = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    terminal.say("epoch 1")
    with terminal.bar("ranking", 2) as bar:
        bar.advance(2)
    printed = capsys.readouterr()
    assert printed.out == "epoch 1\n" and not printed.err and made == ["ranking", 2]


@pytest.mark.parametrize(
    ("seconds", "took", "left"),
    [
        (0.04, "0.0 s", "about 5 s left"),
        (42.3, "42.3 s", "about 40 s left"),
        (59, "59.0 s", "about 1 min left"),
        (700, "12 min", "about 12 min left"),
        (3.4 * 3600, "3.4 h", "about 3 h left"),
        (9 * 86400, "9 days", "about 9 days left"),
    ],
)
def test_times_are_as_exact_as_they_are_known(seconds, took, left):
    assert (terminal.duration(seconds), terminal.time_left(seconds)) == (took, left)
