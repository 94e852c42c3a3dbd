"""Commands run in forked processes that are killed, starved or robbed of their rights, and what must hold of them."""

import contextlib
import ctypes
import importlib
import os
import resource
import select
import signal
import sys
import time
import traceback
from dataclasses import dataclass

from recbole_tme.cli import main

ENDS = (0, 1, 2, 130)
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
    return Outcome(code, *(text.decode(errors="replace") for text in printed.values()))


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
