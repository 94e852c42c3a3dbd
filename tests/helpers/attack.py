"""Commands run in forked processes that are killed, starved or robbed of their rights, and what must hold of them."""

import builtins
import contextlib
import os
import resource
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from recbole_tme.cli import main

ENDS = (0, 1, 2, 130)
NOBODY = 65534


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


def command(*words, scratch: Path, before=None, seconds: float = 120) -> Outcome:
    """Run ``recbole-tme`` in a child of this process, which has imported everything already.

    Args:
        words: the command line.
        scratch: a folder for what it prints, which the attack does not touch.
        before: called in the child first.
        seconds: after which it is killed.
    """
    out, err = scratch / "out", scratch / "err"
    with out.open("wb") as out_file, err.open("wb") as err_file:
        child = os.fork()
        if child == 0:
            code = 99
            try:
                os.dup2(out_file.fileno(), 1)
                os.dup2(err_file.fileno(), 2)
                sys.stdout = os.fdopen(os.dup(1), "w", buffering=1)
                sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
                if before is not None:
                    before()
                code = main([str(word) for word in words])
            except SystemExit as exit_:
                code = exit_.code if isinstance(exit_.code, int) else 1
            except BaseException:
                traceback.print_exc()
            finally:
                with contextlib.suppress(Exception):
                    sys.stderr.flush()
                os._exit(code)
    deadline = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
    code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    return Outcome(code, out.read_text(errors="replace"), err.read_text(errors="replace"))


def kill_at(number: int | None, root: Path, log: Path):
    """A ``before`` for :func:`command` that names every change of a file below ``root`` and kills the process at one.

    Each call that makes, renames or removes a file or folder is two fault points, before and after it. The fault points
    are written to ``log``, a line each, such as ``after replace metrics.json``.

    Args:
        number: of the fault point, from 0; None only lists them.
        root: what is watched.
        log: the list.
    """

    def install() -> None:
        points = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        passed = 0

        def reach(when: str, name: str, path) -> None:
            nonlocal passed
            os.write(points, f"{when} {name} {Path(os.fsdecode(path)).name}\n".encode())
            if passed == number:
                os.kill(os.getpid(), signal.SIGKILL)
            passed += 1

        def watch(module, name: str, counts=lambda *_args, **_kw: True) -> None:
            original = getattr(module, name)

            def watched(path, *args, **kwargs):
                inside = isinstance(path, str | bytes | Path) and os.fsdecode(path).startswith(str(root))
                if not inside or not counts(*args, **kwargs):
                    return original(path, *args, **kwargs)
                reach("before", name, path)
                result = original(path, *args, **kwargs)
                reach("after", name, path)
                return result

            setattr(module, name, watched)

        for name in ("replace", "rename", "mkdir", "unlink", "rmdir"):
            watch(os, name)
        watch(os, "open", lambda flags, *_args, **_kw: bool(flags & os.O_CREAT))
        watch(builtins, "open", lambda mode="r", *_args, **_kw: any(sign in mode for sign in "wax"))

    return install


def full_disk(largest: int):
    """A ``before`` for :func:`command` after which no file grows beyond so many bytes."""

    def install() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    return install


def as_nobody() -> None:
    """A ``before`` for :func:`command`: for root no folder is closed."""
    if os.getuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def give_away(folder: Path) -> None:
    """Let the user of :func:`as_nobody` own a folder and all in it."""
    if os.getuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
