"""The access log: one line of JSON per request."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone

from recbole_tme.errors import UserError


class AccessLog:
    """Writes what is reported to it.

    Args:
        file: appended to; "-" for the standard output.

    Raises:
        UserError: the file cannot be written.
    """

    def __init__(self, file: str):
        try:
            self._file = sys.stdout if file == "-" else open(file, "a", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"--access-log={file}: cannot be written ({reason}); name another file") from error

    def write(self, about: dict) -> None:
        """Write a line; a full disk stops the log and not the server.

        Args:
            about: of a request, plain data; its ``seconds`` are written as milliseconds.
        """
        at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        about = {"time": at, **about, "ms": round(1000 * about["seconds"], 2)}
        del about["seconds"]
        try:
            # Whole lines, so that those of several workers do not mix and none is lost when one is killed.
            self._file.write(json.dumps(about) + "\n")
            self._file.flush()
        except OSError:
            pass
