"""What a person sees while something goes on: lines on standard error, and live progress where that is a terminal.

Results go to standard output by ``print``; everything here is for people, and none of it is needed: without a terminal
there are plain lines, without rich a terminal has tqdm's bars, and a notebook has tqdm's own. ``NO_COLOR`` leaves the
colours out. No line is wider than the terminal, or than 80 columns where there is none, unless one word is.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from recbole_tme.utils.tabular import printable

QUIET, NORMAL, VERBOSE = "quiet", "normal", "verbose"
# In the environment, so that the processes which a run starts say as much as it does.
VARIABLE = "RECBOLE_TME_OUTPUT"
WIDTH = 80
# The widest that lines of prose become on a terminal.
WIDEST = 100

# A text, or a text and its style: "good", "bad", "faint" or "strong".
Piece = str | tuple[str, str]
STYLES = {"good": "green", "bad": "red", "faint": "dim", "strong": "bold", "bar": "cyan"}
FULL, EMPTY = "━", "─"
# Seconds for which nothing live is shown: most things are done by then.
PATIENCE = 0.3
# Seconds from which on a step is said to have been done.
WORTH_TELLING = 1.0

# The console of what is live now; lines are printed above it.
_live_console: Any = None


def output() -> str:
    """How much is said: :data:`QUIET`, :data:`NORMAL` or :data:`VERBOSE`."""
    return os.environ.get(VARIABLE, NORMAL)


@contextmanager
def saying(quiet: bool = False, verbose: bool = False) -> Iterator[None]:
    """Say less or more while the block lasts, in this process and in those it starts."""
    before = os.environ.get(VARIABLE)
    if quiet or verbose:
        os.environ[VARIABLE] = QUIET if quiet else VERBOSE
    try:
        yield
    finally:
        if before is not None:
            os.environ[VARIABLE] = before
        elif quiet or verbose:
            os.environ.pop(VARIABLE, None)


def say(*line: Piece) -> None:
    """A line of progress, as it is; nothing with ``--quiet``."""
    if output() != QUIET:
        _write(line)


def say_folded(text: str, style: str = "", indent: str = "") -> None:
    """Prose of progress, in lines that fit; nothing with ``--quiet``.

    Args:
        text: one paragraph.
        style: of all of it.
        indent: what further lines begin with.
    """
    if output() != QUIET:
        for line in fold(text, indent):
            _write([(line, style)])


def note(text: str) -> None:
    """Something worth knowing, in lines that fit; nothing with ``--quiet``."""
    say_folded(f"note: {text}", indent="  ")


def warn(text: str) -> None:
    """Something that may be wrong, in lines that fit; also with ``--quiet``."""
    for line in fold(f"warning: {text}", "  "):
        _write([(line, "bad")])


def detail(text: str) -> None:
    """Something for those who look closely: with ``--verbose`` only."""
    if output() == VERBOSE:
        say_folded(text, "faint", indent="  ")


def fold(text: str, indent: str = "", width: int | None = None) -> list[str]:
    """A paragraph as lines that fit; words, such as paths, stay whole.

    Args:
        text: in one line; names in it may be somebody's, and what would steer the terminal is spelled out.
        indent: what further lines begin with.
        width: of a line; default what the terminal has.
    """
    width = width or min(columns(), WIDEST)
    shown = printable(text, kept="\n\t\xa0")
    return textwrap.wrap(shown, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False) or [""]


def columns() -> int:
    """The width of the terminal; 80 where there is none."""
    if "COLUMNS" not in os.environ and not sys.stderr.isatty():
        return WIDTH
    return max(20, shutil.get_terminal_size((WIDTH, 24)).columns)


def cropped(text: str, width: int) -> str:
    """A text that is at most so wide, with a sign where its end was cut off."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def duration(seconds: float) -> str:
    """How long something took: ``11.4 s``, ``12 min``, ``3.4 h``."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 100 * 3600 else f"{seconds / 86400:.0f} days"


def time_left(seconds: float) -> str:
    """How long something will take yet, no more exactly than it can be known: ``about 5 min left``."""
    if seconds < 55:
        return f"about {max(5, 5 * round(seconds / 5))} s left"
    if seconds < 90 * 60:
        return f"about {max(1, round(seconds / 60))} min left"
    return f"about {seconds / 3600:.0f} h left" if seconds < 72 * 3600 else f"about {seconds / 86400:.0f} days left"


def bar_pieces(done: float, total: float, width: int) -> list[Piece]:
    """A bar of that many signs, filled as far as things are done."""
    full = min(width, int(width * done / total)) if total else 0
    return [(FULL * full, "bar"), (EMPTY * (width - full), "faint")]


class Bar:
    """How far something is; made by :func:`bar`.

    Args:
        what: is going on.
        total: how much there is to do, None where that is not known.
        unit: of that.
    """

    def __init__(self, what: str, total: float | None, unit: str):
        self.what, self.total, self.unit = what, total, unit
        self.done, self.text = 0.0, ""
        self.began = time.monotonic()
        self.tqdm: Any = None

    def advance(self, amount: float = 1, text: str | None = None) -> None:
        """So much more is done; ``text`` is shown beside it."""
        self.done += amount
        self.text = self.text if text is None else text
        if self.tqdm is not None:
            self.tqdm.update(amount)

    def pieces(self) -> list[Piece]:
        """The line that shows it."""
        passed = time.monotonic() - self.began
        if self.total is None:
            count = f"  {self.done:,.0f} {self.unit}" if self.done else ""
            return [f"{self.what}{count}{'  ' + self.text if self.text else ''}  ", (duration(passed), "faint")]
        share = self.done / self.total if self.total else 1.0
        left = time_left(passed * (1 / share - 1)) if share and passed > 1 else ""
        shown = f"  {self.done:,.0f}/{self.total:,.0f} {self.unit}" + (f"  {self.text}" if self.text else "")
        return [f"{self.what}  ", *bar_pieces(share, 1, 20), shown, (f"  {left}", "faint")]


@contextmanager
def bar(what: str, total: float | None, unit: str = "", wanted: bool = True) -> Iterator[Bar]:
    """Show how far something is while the block lasts, where somebody watches.

    Args:
        what: is going on, in a few words.
        total: how much there is to do; None where that is not known.
        unit: of that.
        wanted: False shows nothing.
    """
    shown = Bar(what, total, unit)
    if not wanted or output() == QUIET:
        yield shown
    elif in_notebook() or (sys.stderr.isatty() and _console() is None):
        from tqdm.auto import tqdm

        with tqdm(total=total, desc=what, unit=f" {unit}", leave=False, disable=None) as shown.tqdm:
            yield shown
    else:
        with live(lambda: [shown.pieces()]):
            yield shown


@contextmanager
def step(what: str) -> Iterator[Callable[[str], None]]:
    """Say what is being done while the block lasts, and how long it took, unless it took no time worth telling.

    Yields:
        A function that takes what came out, for the line that is said.
    """
    began, found = time.monotonic(), [""]
    with bar(what, None):
        yield lambda text: found.__setitem__(0, text)
    passed = time.monotonic() - began
    if passed >= WORTH_TELLING or output() == VERBOSE:
        say(f"{what}{': ' if found[0] else ''}{found[0]}  ", (duration(passed), "faint"))


@contextmanager
def live(lines: Callable[[], Sequence[Sequence[Piece]]]) -> Iterator[None]:
    """Show lines that are drawn anew in place while the block lasts, below all that is said; on a terminal only.

    Args:
        lines: makes them; called several times a second, from another thread.
    """
    global _live_console
    console = _console()
    if output() == QUIET or console is None or console.is_dumb_terminal or _live_console is not None:
        yield
        return
    from rich.console import Group
    from rich.live import Live

    began = time.monotonic()

    def drawn() -> Any:
        early = time.monotonic() - began < PATIENCE
        return Group(*([] if early else [_text(line, overflow="ellipsis") for line in lines()]))

    _live_console = console
    # The streams stay what they are: a process that is forked meanwhile must not wait for a lock of this one's.
    untouched: Any = {"redirect_stdout": False, "redirect_stderr": False}
    try:
        with Live(get_renderable=drawn, console=console, refresh_per_second=5, transient=True, **untouched):
            yield
    finally:
        _live_console = None


def is_live() -> bool:
    """Whether live lines can be seen: standard error is a terminal that can show them."""
    console = _console()
    return output() != QUIET and console is not None and not console.is_dumb_terminal


def in_notebook() -> bool:
    """Whether this is a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


def _write(line: Sequence[Piece]) -> None:
    console = _live_console or _console()
    if console is not None:
        console.print(_text(line), soft_wrap=True)
        return
    text = "".join(_shown(piece) for piece in line).rstrip()
    if in_notebook():
        # What stands on standard error there looks like a fault.
        print(text)
    elif sys.stderr.isatty():
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)
    else:
        print(text, file=sys.stderr, flush=True)


def _console() -> Any:
    """rich's console on standard error, where that is a terminal and rich is installed."""
    if not sys.stderr.isatty():
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    plain: Any = {"color_system": None} if os.environ.get("NO_COLOR") else {}
    return Console(file=sys.stderr, highlight=False, markup=False, emoji=False, **plain)


def _text(line: Sequence[Piece], **options: Any) -> Any:
    from rich.text import Text

    text = Text(no_wrap=True, **options)
    for piece in line:
        text.append(_shown(piece), "" if isinstance(piece, str) else STYLES.get(piece[1], ""))
    text.rstrip()
    return text


def _shown(piece: Piece) -> str:
    return printable(piece if isinstance(piece, str) else piece[0], kept="\n\t\xa0")
