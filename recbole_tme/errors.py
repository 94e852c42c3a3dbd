"""The one exception that means "the input is wrong", as opposed to "the program is wrong"."""


class UserError(Exception):
    """A problem the user can fix.

    The message is one line that names the file, line or key and says what to do; the command line prints
    it without a traceback and exits with code 2.
    """
