"""Fault points: the moments at which a command makes, renames or removes a file, and a kill at each of them."""

import builtins
import io
import os
import random
import re
import shutil
import signal
import sys
from pathlib import Path

from recbole_tme.utils import files
from tests.helpers.attack import command

PACKAGE = Path(files.__file__).parents[1]


def kill() -> None:
    """End this process as nothing can prevent."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at(number: int | None, root: Path, log: Path, happens=kill):
    """A ``before`` for :func:`command` that names every change of a file below ``root`` and kills the process at one.

    Each call that makes, renames, flushes or removes a file or folder is two fault points, before and after it. All are
    written to ``log``, a line each, with the module and function of this package that called, such as
    ``after replace metrics.json @utils/files.py:replacing``.

    Args:
        number: of the fault point, from 0; None only lists them.
        root: what is watched.
        log: the list.
        happens: what is done there instead of the kill.
    """

    def install() -> None:
        points = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        passed = 0

        def reach(when: str, name: str, path) -> None:
            nonlocal passed
            site = _site()
            # Event files for TensorBoard, which another package appends to and nothing here reads.
            if site is None:
                return
            os.write(points, f"{when} {name} {_kind(Path(os.fsdecode(path)).name)} @{site}\n".encode())
            if passed == number:
                # It may pass fault points itself.
                passed += 1
                happens()
                return
            passed += 1

        def watch(module, name: str, counts=lambda *_args, **_kw: True) -> None:
            original = getattr(module, name)

            def watched(path, *args, **kwargs):
                where = os.readlink(f"/proc/self/fd/{path}") if name == "fsync" else path
                inside = isinstance(where, str | bytes | Path) and os.path.abspath(os.fsdecode(where)).startswith(
                    str(root)
                )
                if not inside or not counts(*args, **kwargs):
                    return original(path, *args, **kwargs)
                reach("before", name, where)
                result = original(path, *args, **kwargs)
                reach("after", name, where)
                return result

            setattr(module, name, watched)

        def makes(mode="r", *_args, **_kw):
            return any(sign in mode for sign in "wax")

        for name in ("replace", "rename", "mkdir", "unlink", "rmdir", "fsync", "symlink", "truncate"):
            watch(os, name)
        watch(os, "open", lambda flags, *_args, **_kw: bool(flags & os.O_CREAT))
        watch(builtins, "open", makes)
        # pathlib's.
        watch(io, "open", makes)
        watch(files, "exchange")
        # Otherwise it names what it removes by descriptors of folders.
        shutil._use_fd_functions = False

    return install


def _site() -> str | None:
    """The module and function of this package that is calling, if there is one."""
    frame = sys._getframe(1)
    while frame is not None and PACKAGE not in Path(frame.f_code.co_filename).parents:
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).relative_to(PACKAGE)}:{frame.f_code.co_name}" if frame else None


def _kind(name: str) -> str:
    """A file's name without what differs from process to process: numbers of processes, random letters, times."""
    return re.sub(r"\d{8}T\d{6}", "TIME", re.sub(r"\.\d+\.[0-9a-f]{8}(?=\.part$)", "", name))


def fault_points(words, place: Path, scratch: Path, before=lambda: None) -> list[str]:
    """The names of a command's fault points, in the order in which it passes them."""
    log = scratch / "points"

    def listing() -> None:
        before()
        kill_at(None, place, log)()

    outcome = command(*words, before=listing)
    assert outcome.code == 0, outcome.err
    return log.read_text().splitlines()


def first_and_last(points: list[str]) -> list[int]:
    """The numbers of the fault points that have a name for the first or for the last time."""
    last = {point: number for number, point in enumerate(points)}
    return sorted({points.index(point) for point in last} | set(last.values()))


def some(numbers: list[int], usual: int) -> list[int]:
    """As many of the fault points as ``ATTACK_KILLS`` asks for, usually ``usual``; ``all`` for a long attack."""
    wanted = os.environ.get("ATTACK_KILLS", str(usual))
    if wanted == "all" or int(wanted) >= len(numbers):
        return numbers
    return sorted(random.Random(len(numbers)).sample(numbers, int(wanted)))


def leftovers(place: Path) -> list[str]:
    """What is hidden below a folder because a process was killed that was writing it."""
    return sorted(path.name for path in place.rglob("*") if path.name.endswith((".part", ".old", ".lock")))


def declared() -> dict[str, str]:
    """What ``fault_points.txt`` says of each place that changes files."""
    text = (Path(__file__).parents[1] / "attack" / "fault_points.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {place: how.strip() for place, _, how in (line.partition(" ") for line in lines)}


def check_declared(name: str, points: list[str]) -> None:
    """Refuse a list that is not true of the fault points which a command passes."""
    reached = {point.partition(" @")[2] for point in points}
    said = {place for place, how in declared().items() if how.startswith("killed in ") and name in how.split(" ")}
    assert said <= reached, f"{name} passes no fault point in {sorted(said - reached)}, as fault_points.txt has it"
    unsaid = {place for place in reached - said if not declared().get(place, "").startswith("killed in ")}
    assert not unsaid, f"{name} passes fault points in {sorted(unsaid)}, of which fault_points.txt knows nothing"
