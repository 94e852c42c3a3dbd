"""Nodes of a Ray cluster on this machine's loopback interface, and processes that are told to join it."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from recbole_tme.errors import UserError
from recbole_tme.experiment import ray_versions

ROOT = Path(__file__).parents[2]
PATIENCE = 240


def environment() -> dict:
    # Clusters of later versions of Ray want a token otherwise.
    return os.environ | {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"}


@contextlib.contextmanager
def head_node() -> Iterator[tuple[str, str]]:
    """A cluster of one node with one core; its address, and the folder that further nodes share with it."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    # Ray's sockets are there, and the paths of sockets are short.
    with (
        tempfile.TemporaryDirectory(prefix="ray") as records,
        ray_node(records, "--head", f"--port={address[10:]}", "--include-dashboard=false"),
    ):
        wait_until_reachable(address)
        wait_for_sockets(Path(records))
        yield address, records


@contextlib.contextmanager
def ray_node(records: str, *arguments: str) -> Iterator[subprocess.Popen]:
    """A node of one core by ``ray start``, whose processes are below the one given; killed in the end."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--node-ip-address=127.0.0.1"]
    command += ["--num-cpus=1", "--object-store-memory=100000000", "--disable-usage-stats", *arguments]
    # Two nodes of one machine must not share their workers' ports.
    command += ["--min-worker-port=0", "--max-worker-port=0"]
    # Its notes, the address of the machine's cluster among them, are for nobody else.
    process = subprocess.Popen(command, env=environment() | {"RAY_TMPDIR": records}, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        kill_family(process)


def kill_family(process: subprocess.Popen) -> None:
    if process.poll() is None:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(family, timeout=30)


def wait_until_reachable(address: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            ray_versions.reachable_ray(address)
            return
        except UserError:
            assert time.monotonic() < deadline
            time.sleep(0.5)


def wait_for_sockets(records: Path) -> None:
    """Until the first node has its sockets: another one that looks before that takes the same names, and dies."""
    deadline = time.monotonic() + PATIENCE
    while not all(list(records.rglob(f"sockets/{name}")) for name in ("plasma_store", "raylet")):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def members(below: subprocess.Popen, title: str) -> list[psutil.Process]:
    """Ray's workers of one kind among the descendants of a node's process."""
    found = []
    for child in psutil.Process(below.pid).children(recursive=True):
        # Some end while they are looked at.
        with contextlib.suppress(psutil.Error):
            if any(title in word for word in child.cmdline()):
                found.append(child)
    return found
