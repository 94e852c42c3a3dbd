"""The rules of a server's own, which hold for every list; their file is read again when it has changed."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable

from recbole_tme.errors import UserError
from recbole_tme.serving.recommender import Recommender
from recbole_tme.serving.rules.rules import Rules

logger = logging.getLogger(__name__)

# Seconds between two looks at the file.
PAUSE = 1.0


class StandingRules:
    """Rules of a file, or themselves in braces; where a new version of the file is broken the old rules go on.

    Args:
        text: as for ``--rules``.

    Attributes:
        error: why the latest version could not be used, in one line; None where it could.

    Raises:
        UserError: they are none.
    """

    def __init__(self, text: str):
        self._text = text
        self.error: str | None = None
        self._stamp, self._looked = self._read_stamp(), time.monotonic()
        self._rules = Rules.given(text)
        self._recommenders: Callable[[], Iterable[Recommender]] = tuple

    def check_with(self, recommenders: Callable[[], Iterable[Recommender]]) -> None:
        """Accept new rules from now on only if these can follow them.

        Args:
            recommenders: gives those that are in use.
        """
        self._recommenders = recommenders

    def current(self) -> Rules:
        """The rules that hold now."""
        now = time.monotonic()
        if now - self._looked >= PAUSE:
            self._looked = now
            stamp = self._read_stamp()
            if stamp != self._stamp:
                self._stamp = stamp
                self._read()
        return self._rules

    def _read(self) -> None:
        try:
            rules = Rules.given(self._text)
            for recommender in self._recommenders():
                recommender.compiled(rules)
            self._rules, self.error = rules, None
        except UserError as error:
            self.error = str(error)
            logger.error("the rules were not read again: %s; the old ones hold", error)

    def _read_stamp(self) -> tuple | None:
        try:
            status = os.stat(self._text)
        except (OSError, ValueError):
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns
