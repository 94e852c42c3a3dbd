"""``recbole-tme serve`` in a process of its own, as its users have it."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment() -> dict:
    return os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}


class Server:
    """A running server: its process and its address."""

    def __init__(self, process, url):
        self.process, self.url = process, url
        host, _, port = url.removeprefix("http://").partition(":")
        self.address = host, int(port)

    def ask(self, path, body=None):
        """Status and JSON of an answer; ``body`` is posted, bytes as they are."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def stop(self, signal_number=signal.SIGTERM):
        """Exit code and what was written to the standard error."""
        self.process.send_signal(signal_number)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


@contextmanager
def serving(run, *options):
    """A server on a free port, stopped at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "recbole_tme", "serve", str(run), "--port=0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("http://"), process.communicate()[1]
        yield Server(process, line.split()[0])
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
