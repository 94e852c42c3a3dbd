"""Record what commands show on a terminal of 80 columns, as text and as SVG: the captures of the documentation.

    python scripts/capture_terminal.py docs/captures            # all of them, some minutes
    python scripts/capture_terminal.py docs/captures run tune   # some

Each command runs in a pseudo-terminal in an empty folder. ``NAME.txt`` and ``NAME.svg`` hold what stands there at the
end, ``NAME-live.*`` what stood there while it was at work.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import sys
import tempfile
import termios
import textwrap
from collections.abc import Sequence
from pathlib import Path

COLUMNS, LINES = 80, 30
MODEL = "--model=SRGNN --dataset=ml100k-sessions"
# Words of the command, and a pattern that is seen in the frame which is taken while it is at work.
CAPTURES = {
    "run": (f"run {MODEL} --epochs=4", r"[5-7]\d/94 batches"),
    "compare": ("compare --models=SRGNN,VSKNN,SPop --seeds=2 --epochs=2", "2 of 4 runs"),
    "tune": (f"tune {MODEL} --epochs=2 --num-samples=4", "2 of 4 trials"),
}
_SIGNS = re.compile(r"\x1b\[[?0-9;]*[A-Za-z]|\n|\r|[^\x1b\n\r]+")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def recorded(argv: Sequence[str], folder: Path, columns: int = COLUMNS, **environment: str) -> str:
    """All that a program writes to a terminal, its control sequences included."""
    process, terminal = pty.fork()
    if process == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
        os.chdir(folder)
        os.environ.pop("COLUMNS", None)
        os.environ |= {"TERM": "xterm-256color"} | environment
        os.execvp(argv[0], list(argv))  # noqa: S606
    parts = []
    try:
        while part := os.read(terminal, 1 << 16):
            parts.append(part)
    # How Linux says that the other end is closed.
    except OSError:
        pass
    os.waitpid(process, 0)
    os.close(terminal)
    return b"".join(parts).decode()


def screen(text: str) -> list[str]:
    """The lines that a terminal would show in the end, without a limit to their number or width; colours are kept.

    Args:
        text: of a program that draws whole lines anew, as ours does.
    """
    lines, row = [""], 0
    for sign in _SIGNS.findall(text):
        if sign == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
        elif re.fullmatch(r"\x1b\[2?K", sign):
            lines[row] = ""
        elif up := re.fullmatch(r"\x1b\[(\d*)A", sign):
            row = max(0, row - int(up[1] or 1))
        elif sign != "\r" and not re.fullmatch(r"\x1b\[\?25[hl]", sign):
            lines[row] += sign
    while lines and not plain(lines[-1]).strip():
        lines.pop()
    return lines


def plain(line: str) -> str:
    """A line without its colours."""
    return _COLOUR.sub("", line)


def frame(text: str, marker: str) -> list[str]:
    """What stood there in the midst of the time in which something live showed the pattern ``marker``."""
    places = [match.end() for match in re.finditer(marker, text) if "\x1b[2K" in text[: match.start()][-4000:]]
    if not places:
        return []
    end = re.compile(r"[\r\n]").search(text, places[len(places) // 2])
    return screen(text[: end.start() if end else len(text)])


def svg(lines: Sequence[str], title: str) -> str:
    """Lines as a picture that needs no font from elsewhere."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print(Text.from_ansi("\n".join(lines)), soft_wrap=True)
    return re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title=title), flags=re.DOTALL)


def write(folder: Path, name: str, command: str, lines: Sequence[str]) -> None:
    """Write a capture as text and as SVG."""
    typed = textwrap.wrap(f"$ recbole-tme {command}", COLUMNS - 2, subsequent_indent="    ", break_on_hyphens=False)
    shown = [*(f"{line} \\" for line in typed[:-1]), typed[-1], *lines]
    text = "\n".join(plain(line).rstrip() for line in shown) + "\n"
    (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    (folder / f"{name}.svg").write_text(svg(shown, f"recbole-tme {command.split()[0]}"), encoding="utf-8")


def main(argv: Sequence[str]) -> int:
    """Make the captures that are named, or all."""
    folder, names = Path(argv[0]), list(argv[1:]) or list(CAPTURES)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        command, marker = CAPTURES[name]
        with tempfile.TemporaryDirectory() as where:
            program = [sys.executable, "-m", "recbole_tme", *command.split()]
            text = recorded(program, Path(where), PYTHONPATH=str(Path(__file__).parents[1]))
        write(folder, name, command, screen(text))
        if live := frame(text, marker):
            write(folder, f"{name}-live", command, live)
        wide = [line for line in map(plain, screen(text)) if len(line) > COLUMNS]
        print(f"{name}: {len(screen(text))} lines, {len(wide)} wider than {COLUMNS}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
