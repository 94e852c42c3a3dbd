"""The exceptions that mean "the input is wrong" or "the user stopped it", as opposed to "the program is wrong"."""

from __future__ import annotations

import errno

# What the system refuses for reasons that lie with the user's folders, disks and names, not with this program.
OF_THE_SYSTEM = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENAMETOOLONG),
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EIO, errno.EMFILE, errno.ESTALE, errno.ENOTEMPTY),
}


def os_problem(error: OSError) -> str:
    """One line on what the system refuses, and where it says so."""
    reason = error.strerror or str(error)
    if error.filename is None:
        return f"{reason}: the output cannot be written; free space or send it elsewhere"
    name = error.filename if isinstance(error.filename, str) else str(error.filename)
    return f"{name}: {reason}; see that it is there, that you may read and write it, and that the disk has room"


def first_line(error: BaseException) -> str:
    """What a foreign error says, in one line: the first of its message, or its class where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def in_one_line(error: BaseException) -> str:
    """All that a foreign error says, in one line, as it may quote a damaged name with line breaks; else its class."""
    return " ".join(str(error).split()) or type(error).__name__


class UserError(Exception):
    """A problem the user can fix.

    The message is one line that names the file, line or key and says what to do; the command line prints
    it without a traceback and exits with code 2.
    """


class PluginError(UserError):
    """The code of a model that is not this package's is wrong.

    The message is one line that names the file, line and class; what the code raised, with its traceback, is the
    ``__cause__``.
    """


class WrongResult(ValueError):
    """A model's method returned what it must not; the message says which, and what is expected."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with a line that says how to go on."""
