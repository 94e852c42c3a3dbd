"""Commands run in forked processes that are killed at fault points, starved or robbed of their rights.

A fault point is the moment before or after a call that makes, renames, flushes or removes a file or a folder.
"""

import builtins
import contextlib
import ctypes
import importlib
import io
import os
import random
import re
import resource
import select
import shutil
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from recbole_tme.cli import main
from recbole_tme.utils import files
from tests.helpers.tally import TRIED

ENDS = (0, 1, 2, 130)
PACKAGE = Path(files.__file__).parents[1]
# What commands import when they are called: each child would import it again.
HEAVY = (
    *("api.comparing", "api.preparing", "api.running", "api.tuning", "commands.leakcheck", "data.prepare"),
    *("experiment.run", "tuning.plots"),
    *("report.comparison", "report.significance", "serving.bundle", "serving.from_run", "serving.recommend"),
)
for name in (
    "matplotlib.pyplot",
    "torch._dynamo",
    "torch.utils.tensorboard",
    *(f"recbole_tme.{name}" for name in HEAVY),
):
    importlib.import_module(name)


@dataclass
class Outcome:
    """How a command ended: its exit code (negative for a signal), and what it printed."""

    code: int
    out: str
    err: str

    def problem(self) -> str | None:
        """What is not as it must be, in words: the exit code, a traceback, more or less than one line of error."""
        if self.code not in ENDS:
            return f"exit code {self.code}: {self.err[-600:]}"
        if "Traceback" in self.err or "Exception ignored" in self.err:
            return f"a traceback: {self.err[-1500:]}"
        errors = [line for line in self.err.splitlines() if line.startswith("error: ")]
        if self.code == 2 and len(errors) != 1:
            return f"{len(errors)} lines of error: {self.err[-600:]}"
        return None


def command(*words, before=None, seconds: float = 120) -> Outcome:
    """Run ``recbole-tme`` in a child of this process, which has imported everything already.

    Args:
        words: the command line.
        before: called in the child first.
        seconds: after which it is killed.
    """
    pipes = {1: os.pipe(), 2: os.pipe()}
    child = os.fork()
    if child == 0:
        code = 99
        try:
            for number, (_, write) in pipes.items():
                os.dup2(write, number)
            if before is not None:
                before()
            sys.stdout = os.fdopen(os.dup(1), "w", buffering=1)
            sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
            code = main([str(word) for word in words])
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stderr.flush()
            os._exit(code)
    printed = {read: b"" for read, write in pipes.values() if os.close(write) is None}
    deadline, left = time.monotonic() + seconds, set(printed)
    while left:
        for read in select.select(list(left), [], [], 1)[0]:
            part = os.read(read, 2**16)
            printed[read] += part
            if not part:
                left.discard(read)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            break
    _, status = os.waitpid(child, 0)
    code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    for read in printed:
        os.close(read)
    TRIED["kills" if code == -signal.SIGKILL else "commands"] += 1
    return Outcome(code, *(text.decode(errors="replace") for text in printed.values()))


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
                if name == "symlink":
                    (where, *_) = args
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


def some(points: list[str], usual: int) -> list[int]:
    """The numbers of as many fault points as ``ATTACK_KILLS`` asks for, usually ``usual``; ``all`` for a long attack.

    Those have a name for the first or for the last time; ``all`` are all.
    """
    wanted = os.environ.get("ATTACK_KILLS", str(usual))
    if wanted == "all":
        return list(range(len(points)))
    last = {point: number for number, point in enumerate(points)}
    numbers = sorted({points.index(point) for point in last} | set(last.values()))
    return sorted(random.Random(len(numbers)).sample(numbers, min(int(wanted), len(numbers))))


def leftovers(place: Path) -> list[str]:
    """What is hidden below a folder because a process was killed that was writing it."""
    return sorted(path.name for path in place.rglob("*") if path.name.endswith((".part", ".old", ".lock")))


def full_disk(largest: int):
    """A ``before`` for :func:`command` after which no file grows beyond so many bytes."""

    def install() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    return install


def without_privileges() -> None:
    """A ``before`` for :func:`command`: for root no folder is closed, unless it gives its capabilities up."""
    if os.getuid() == 0:
        header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        assert ctypes.CDLL(None).capset(header, none) == 0
