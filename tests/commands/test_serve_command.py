"""``recbole-tme serve`` as a process: it starts, refuses, bears load and stops."""

import asyncio
import itertools
import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import psutil
import pytest
from helpers.quick_run import quick_run
from helpers.serving_process import environment, serving

from recbole_tme.cli import main
from recbole_tme.serving.bundle import write_bundle
from recbole_tme.serving.recommender import Recommender
from recbole_tme.serving.server.serve import listening_socket


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve_command")
    write_bundle(quick_run(folder, "DANSeR", embedding_size=8).path, folder / "bundle")
    return folder / "bundle"


@pytest.fixture(scope="module")
def extra():
    pytest.importorskip("fastapi", reason="needs FastAPI, the extra serve")
    pytest.importorskip("uvicorn", reason="needs uvicorn, the extra serve")


@pytest.fixture(scope="module")
def server(extra, bundle):
    """A server for the tests of this file, which must end well whatever they did to it."""
    with serving(bundle) as server, socket.create_connection(server.address) as idle:
        idle.sendall(b"POST /recommend HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n{")
        yield server
        code, errors = server.stop(signal.SIGTERM)
        assert code == 0 and "Traceback" not in errors
        # It has sent one byte of its body and was told so, or is told now that the server ends.
        assert idle.recv(1000).startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 503 "))


def refused(capsys, *arguments) -> str:
    """The one line with which the command refuses to start."""
    assert main(["serve", *map(str, arguments)]) == 2
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert line.startswith("error: ") and not shown.out
    return line


def test_without_the_extra_it_says_how_to_get_it(bundle, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    line = refused(capsys, bundle)
    assert "fastapi is not installed" in line and "pip install" in line and "[serve]" in line


def test_importing_it_needs_no_extra():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['fastapi', 'starlette', 'uvicorn', 'pydantic']))\n"
        "from recbole_tme.serving.server import app, batching, catalogue, protection, serve"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr


def test_a_taken_port_is_named(extra, bundle, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused(capsys, bundle, f"--port={port}")
    assert str(port) in line and "in use" in line and "--port" in line


@pytest.mark.parametrize("options", [["--port=70000"], ["--port=-1"], ["--host=no.such.host.invalid"]])
def test_an_impossible_address_is_refused(extra, bundle, capsys, options):
    assert "cannot be listened on" in refused(capsys, bundle, *options)


@pytest.mark.parametrize("name", ["bundle.json", "catalogue.json", "model.safetensors"])
def test_a_damaged_bundle_is_refused_by_its_file(extra, bundle, tmp_path, capsys, name):
    copied = shutil.copytree(bundle, tmp_path / "copied")
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    assert str(copied / name) in refused(capsys, copied, "--port=0")


def test_nothing_to_serve_is_refused(extra, tmp_path, capsys):
    assert "not a run directory" in refused(capsys, tmp_path, "--port=0")


def test_it_listens_on_this_machine_and_answers(server, bundle):
    recommender = Recommender.load(bundle)
    status, found = server.ask("/recommend", {"session": recommender.items[:2], "k": 3})
    (wanted,) = recommender.answers([recommender.items[:2]], 3)
    assert status == 200 and [entry["item"] for entry in found["items"]] == wanted.items
    assert server.address[0] == "127.0.0.1"


def test_other_machines_are_let_in_on_request_only_and_interrupting_it_is_no_error(extra, bundle):
    with serving(bundle, "--host=0.0.0.0") as server:
        assert server.address[0] == "0.0.0.0"
        code, errors = server.stop(signal.SIGINT)
    assert code == 0 and errors.startswith("note: other machines") and errors.count("\n") == 1
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(server.address)


def test_a_large_body_gets_its_refusal_and_is_not_kept(server):
    before = resident(server)
    for _ in range(5):
        assert server.ask("/recommend", b" " * 10_000_000)[0] == 413
    assert resident(server) - before < 30
    assert server.ask("/health") == (200, {"status": "ok"})


@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=pytest.mark.slow)])
def test_load_brings_no_error_and_no_growth(server, bundle, seconds):
    items = Recommender.load(bundle).items
    load(server, items, 2)
    before = resident(server)
    answered, wrong = load(server, items, seconds)
    assert not wrong and answered > 0
    assert resident(server) - before < 20


def resident(server) -> float:
    """Resident memory of a server, in MB."""
    return psutil.Process(server.process.pid).memory_info().rss / 1e6


def load(server, items, seconds, n_clients=16) -> tuple[int, list]:
    """Ask from some threads at a time; returns the number of answers and those that were wrong.

    Each session has an answer of its own, which is known by its unknown click.
    """
    end, counter, wrong = time.monotonic() + seconds, itertools.count(), []

    def client(number):
        rng = random.Random(number)
        while time.monotonic() < end:
            mark = f"mark {next(counter)}"
            session, k = [*rng.choices(items, k=rng.randint(0, 30)), mark], rng.randint(1, 30)
            kind = rng.random()
            if kind < 0.1:
                status, _ = server.ask("/recommend", json.dumps({"session": session}).encode()[:-1])
                good = status == 422
            elif kind < 0.2:
                status, found = server.ask("/recommend", {"sessions": [[mark], session], "k": k, "exclude_seen": True})
                good = status == 200 and [one["unknown"] for one in found["results"]] == [[mark]] * 2
            else:
                status, found = server.ask("/recommend", {"session": session, "k": k, "explain": kind < 0.3})
                good = status == 200 and found["unknown"] == [mark] and len(found["items"]) == k
            if not good:
                wrong.append((status, session))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(n_clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return next(counter), wrong


def test_no_answer_waits_for_an_acknowledgement():
    async def of_an_accepted_connection() -> int:
        found = asyncio.get_running_loop().create_future()

        def accepted(_, writer) -> None:
            taken = writer.get_extra_info("socket")
            found.set_result(taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = listening_socket("127.0.0.1", 0)
        async with await asyncio.start_server(accepted, sock=listener):
            with socket.create_connection(listener.getsockname()):
                return await asyncio.wait_for(found, 30)

    assert asyncio.run(of_an_accepted_connection()) != 0
