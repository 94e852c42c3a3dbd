"""A server under load from good clients, from clients that break every rule, and with bundles that break: the good ones
get every answer, the right one, and the server's memory stays as it is."""

import os
import random
import shutil
import signal
import socket
import struct
import threading
import time

import numpy as np
import psutil
import pytest

from recbole_tme.serving.bundle import pack
from recbole_tme.serving.client import Client
from recbole_tme.serving.server.protection import MAX_BODY
from tests.helpers.serving_process import serving
from tests.helpers.tally import TRIED
from tests.helpers.untrained import untrained

pytest.importorskip("fastapi", reason="needs FastAPI, the extra serve")
pytest.importorskip("uvicorn", reason="needs uvicorn, the extra serve")

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("ATTACK_SECONDS", "8"))
ITEMS = 500
SESSIONS = [[f"i{(7 * i + j) % ITEMS}" for j in range(1 + i % 8)] for i in range(40)]
HEAD = b"POST /recommend HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
BODY = b'{"session": ["i1", "i2"], "k": 20}'


def requests(rng):
    """Bytes that no good client sends, and whether an answer is waited for."""
    sized = HEAD + b"content-length: %d\r\n\r\n"
    yield sized % len(BODY) + BODY[: rng.randrange(len(BODY))], False
    yield sized % len(BODY) + BODY, False
    yield HEAD[: rng.randrange(1, len(HEAD))], False
    yield sized % (10 * MAX_BODY) + b'{"session": ["' + b"x" * (MAX_BODY + 1000), True
    yield sized % 10**30 + BODY, True
    yield HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n" + BODY, True
    yield HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\n" + BODY, True
    yield HEAD + b"".join(b"x-%d: %s\r\n" % (i, b"y" * 500) for i in range(200)) + b"\r\n", True
    yield bytes(rng.randrange(256) for _ in range(400)) + b"\r\n\r\n", True
    yield sized % len(BODY) + BODY.replace(b"i", b"\xff"), True
    yield sized % 40_000 + b"[" * 40_000, True
    yield b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n", True


def misbehave(address, stop, rng):
    """Break off, stay half said, send too much or nonsense, again and again."""
    while not stop.is_set():
        for content, waits in requests(rng):
            try:
                with socket.create_connection(address, timeout=5) as connection:
                    connection.sendall(content)
                    if waits:
                        assert b" 200 " not in connection.recv(64)
                    if rng.random() < 0.5:
                        # Closing resets the connection.
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                # The server hangs up on such clients.
                continue
            if stop.is_set():
                return


def same(found, wanted):
    """Whether lists agree, but for the last digits that a score has by what else is in its batch."""
    scores = [one["score"] for one in found]
    return np.allclose(scores, [one["score"] for one in wanted], atol=1e-4) and found[0]["item"] == wanted[0]["item"]


def ask(url, stop, expected, faults, answered):
    client = Client(url, timeout=30)
    while not stop.is_set():
        for number, wanted in expected.items():
            try:
                found = client.recommend(SESSIONS[number], k=10)
                if not same(found["items"], wanted):
                    faults.append((SESSIONS[number], found))
            except Exception as error:
                faults.append(error)
            answered.append(number)
            if stop.is_set():
                break
    client.close()


def test_good_clients_get_right_answers_while_others_break_every_rule(tmp_path):
    pack(untrained("DANSeR", tmp_path, ITEMS, embedding_size=16), tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "served")
    rng = random.Random("load")
    with serving(tmp_path / "served") as server:
        process, stop = psutil.Process(server.process.pid), threading.Event()
        first = Client(server.url)
        expected = {i: first.recommend(session, k=10)["items"] for i, session in enumerate(SESSIONS)}
        faults, answered, resident = [], [], []
        threads = [
            *(threading.Thread(target=ask, args=(server.url, stop, expected, faults, answered)) for _ in range(4)),
            *(threading.Thread(target=misbehave, args=(server.address, stop, random.Random(i))) for i in range(4)),
        ]
        for thread in threads:
            thread.start()
        end, refused = time.monotonic() + SECONDS, 0
        while time.monotonic() < end:
            # A bundle that is broken where it may be, and the whole one again.
            file = rng.choice(sorted((tmp_path / "served").iterdir()))
            content = file.read_bytes()
            file.write_bytes(rng.choice((b"", content[: len(content) // 2], content[::-1])))
            server.process.send_signal(signal.SIGHUP)
            time.sleep(0.4)
            refused += bool(first.ready()["errors"])
            file.write_bytes(content)
            server.process.send_signal(signal.SIGHUP)
            time.sleep(0.4)
            resident.append(process.memory_info().rss / 1e6)
        stop.set()
        for thread in threads:
            thread.join()
        print(f"{len(answered)} answers in {SECONDS:g} s, {len(faults)} faults, {refused} broken bundles refused")
        TRIED["answers under load"] += len(answered)
        assert not faults, faults[:3]
        assert len(answered) > 20 and refused
        third = len(resident) // 3
        assert sum(resident[-third:]) / third - sum(resident[:third]) / third < 40, resident
        assert first.ready()["status"] == "ready"
        code, errors = server.stop()
        assert code == 0 and "Traceback" not in errors, errors[-3000:]
