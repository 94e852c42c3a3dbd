"""Processes that a killed command had started end with it; those that were there before do not."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from recbole_tme.serving.bundle import pack
from recbole_tme.utils.orphans import marked
from tests.helpers.serving_process import environment, serving
from tests.helpers.untrained import untrained

pytestmark = pytest.mark.slow

# Starts a process with the mark, which starts another one in a session of its own, and one without it.
STARTER = """
import subprocess, sys, time
from recbole_tme.utils.orphans import watched
from recbole_tme.utils.processes import environment

sleep = "import time; time.sleep(600)"
start = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {sleep!r}], start_new_session=True); {sleep}"
with watched() as mark:
    other = subprocess.Popen([sys.executable, "-c", sleep])
    with environment(**mark):
        own = subprocess.Popen([sys.executable, "-c", start])
    print(*mark.values(), other.pid, flush=True)
    time.sleep(600 if sys.argv[1] == "stay" else 1)
"""


def wait_until(happens, seconds):
    """Whether something happens in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if happens():
            return True
        time.sleep(0.1)
    return False


def alive(processes):
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("how", ["killed", "ends"])
def test_what_was_started_with_a_mark_ends_with_its_starter_and_nothing_else_does(how):
    words = [sys.executable, "-c", STARTER, "stay" if how == "killed" else "end"]
    starter = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment())
    mark, other = starter.stdout.readline().split()
    try:
        if how == "killed":
            assert wait_until(lambda: len(marked(mark)) == 2, 60)
            starter.kill()
        starter.wait(timeout=60)
        assert wait_until(lambda: not marked(mark), 10)
        assert alive([psutil.Process(int(other))])
    finally:
        os.kill(int(other), signal.SIGKILL)
        starter.stdout.close()


def test_no_process_of_ray_outlives_a_killed_tune(tmp_path):
    pytest.importorskip("ray")
    words = ["tune", "--model=SRGNN", "--dataset=toy", "--num-samples=40", "--search=random", "--scheduler=none"]
    words += ["--epochs=200", "--device=cpu", "--show_progress=False", f"--run_dir={tmp_path}"]
    with open(tmp_path / "said", "wb") as said:
        tune = subprocess.Popen(
            [sys.executable, "-m", "recbole_tme", *words], stdout=said, stderr=said, env=environment()
        )
    try:
        assert wait_until(lambda: any(tmp_path.rglob("journal.jsonl")), 120), (tmp_path / "said").read_text()
        # Workers are there, or about to be.
        time.sleep(2)
        children = psutil.Process(tune.pid).children(recursive=True)
        assert any(one.name() == "raylet" for one in children)
    finally:
        tune.kill()
        tune.wait()
    # Without a watcher, one of them stays for half a minute and longer.
    assert wait_until(lambda: not alive(children), 10), alive(children)


def test_no_worker_outlives_a_killed_server(tmp_path):
    pack(untrained("SRGNN", tmp_path, embedding_size=8), tmp_path / "bundle")
    with serving(tmp_path / "bundle", "--workers=2") as server:
        assert wait_until(lambda: len(psutil.Process(server.process.pid).children()) == 2, 60)
        workers = psutil.Process(server.process.pid).children()
        assert server.ask("/recommend", {"session": ["i1"]})[0] == 200
        server.process.kill()
        assert wait_until(lambda: not alive(workers), 10), alive(workers)
