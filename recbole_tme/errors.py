"""The exceptions that mean "the input is wrong" or "the user stopped it", as opposed to "the program is wrong"."""


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
