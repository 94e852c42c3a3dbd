"""``recbole-tme serve`` under load and under attack: reloads, slow clients, workers that die."""

import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
import urllib.request
from pathlib import Path

import psutil
import pytest
from helpers.serving_process import ROOT, serving
from helpers.untrained import untrained

from recbole_tme.cli import main
from recbole_tme.serving.bundle import pack

sys.path.insert(0, str(ROOT / "benchmarks"))

from _http_load import load

pytest.importorskip("fastapi", reason="needs FastAPI, the extra serve")
pytest.importorskip("uvicorn", reason="needs uvicorn, the extra serve")
pytest.importorskip("prometheus_client", reason="needs prometheus-client, the extra serve")

ITEMS = 2000
SESSIONS = [[f"i{(7 * i + j) % ITEMS}" for j in range(1 + i % 8)] for i in range(100)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("load")
    pack(untrained("DANSeR", folder, ITEMS, embedding_size=16), folder / "bundle")
    return folder / "bundle"


def resident(process: psutil.Process) -> float:
    """Resident memory in MB."""
    return process.memory_info().rss / 1e6


@pytest.mark.slow
def test_reloads_under_load_lose_nobody_and_no_memory(bundle):
    seconds, clients = 60, 200
    with serving(bundle) as server:
        process, stop, grown = psutil.Process(server.process.pid), threading.Event(), []

        def reload():
            while not stop.wait(seconds / 12):
                server.process.send_signal(signal.SIGHUP)
                grown.append(resident(process))

        load(server.url, SESSIONS, clients, 2)
        reloading = threading.Thread(target=reload)
        reloading.start()
        found = load(server.url, SESSIONS, clients, seconds)
        stop.set()
        reloading.join()
        assert not found.failures and len(found.latencies) > clients
        reloads = 'recbole_tme_reloads_total{model="default",outcome="done"}'
        assert metric(server, reloads) >= 3
        third = len(grown) // 3
        assert sum(grown[-third:]) / third - sum(grown[:third]) / third < 30, grown


def metric(server, name) -> float:
    with urllib.request.urlopen(server.url + "/metrics", timeout=30) as response:
        rows = dict(row.rsplit(" ", 1) for row in response.read().decode().splitlines() if row[0] != "#")
    return float(rows.get(name, 0))


@pytest.mark.slow
def test_hundreds_of_slow_clients_are_dropped_and_the_others_are_served(bundle):
    with serving(bundle) as server:
        slow = [socket.create_connection(server.address) for _ in range(400)]
        heads = [b"", b"POST /recommend HTTP/1.1\r\nhost: localhost\r\n", b"GET /health HT"]
        heads.append(b"POST /recommend HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{")
        for i, one in enumerate(slow):
            one.sendall(heads[i % len(heads)])
            one.settimeout(0.01)
        started, left = time.monotonic(), list(slow)
        while left and time.monotonic() - started < 30:
            status, found = server.ask("/recommend", {"session": ["i1"], "k": 3})
            assert status == 200 and len(found["items"]) == 3
            left = [one for one in left if not is_closed(one)]
            # A byte now and then keeps nobody connected.
            for one in left:
                with contextlib.suppress(OSError):
                    one.sendall(b"x")
            time.sleep(0.5)
        assert not left, f"{len(left)} of 400 are still connected"


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed a connection; what it said before is read."""
    try:
        while connection.recv(1000):
            pass
        return True
    except TimeoutError:
        return False
    except OSError:
        return True


def test_a_foreign_host_name_is_refused_on_this_machine(bundle):
    with serving(bundle) as server, socket.create_connection(server.address) as connection:
        connection.sendall(b"GET /model HTTP/1.1\r\nhost: evil.example\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 421 ")


def test_workers_answer_together_are_replaced_and_end(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "bundle")
    with serving(tmp_path / "bundle", "--workers=2", f"--access-log={tmp_path / 'log'}") as server:
        parent = psutil.Process(server.process.pid)
        first = {child.pid for child in parent.children()}
        assert len(first) == 2
        found = load(server.url, SESSIONS, 16, 3)
        assert not found.failures and found.latencies
        answered = 'recbole_tme_requests_total{path="/recommend",status="200"}'
        # Whichever worker is asked, it tells of all.
        assert {metric(server, answered) for _ in range(6)} == {len(found.latencies)}
        os.kill(min(first), signal.SIGKILL)
        end = time.monotonic() + 30
        while len({child.pid for child in parent.children()} - {min(first)}) < 2 and time.monotonic() < end:
            time.sleep(0.1)
        assert server.ask("/recommend", {"session": ["i1"], "k": 2})[0] == 200
        children = parent.children()
        code, errors = server.stop()
        assert code == 0 and "takes its place" in errors and "Traceback" not in errors
        assert not any(child.is_running() for child in children)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert len(lines) >= len(found.latencies) and all(line["ms"] >= 0 and line["id"] for line in lines)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--workers=0"], "--workers"),
        (["--workers=1000"], "--workers"),
        (["--workers=2", "--device=cuda"], "--workers"),
        (["--watch=0"], "--watch"),
        (["--watch=nan"], "--watch"),
        (["--split=a"], "--split"),
        (["--split=default=1,default=0"], "--split"),
        (["--split=default=nan"], "--split"),
        (["--split=default=0.5"], "--split"),
        (["--shadow=b"], "--shadow"),
        (["--model=b"], "--model"),
        (["--model==x"], "--model"),
        (["--token-file=/no/such/file"], "/no/such/file"),
        (["--access-log=/no/such/folder/log"], "--access-log"),
    ],
)
def test_bad_options_are_refused_in_one_line(bundle, capsys, options, word):
    assert main(["serve", str(bundle), "--port=0", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and word in line


def test_no_model_at_all_is_refused(capsys):
    assert main(["serve"]) == 2
    assert "--model=NAME=RUN" in capsys.readouterr().err
