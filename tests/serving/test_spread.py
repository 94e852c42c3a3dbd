"""Many sessions answered by several processes or by a cluster: the same answers in the same order."""

import os
import signal
import time

import numpy as np
import psutil
import pytest
from helpers.untrained import untrained

from recbole_tme.cli import main
from recbole_tme.errors import UserError
from recbole_tme.serving import spread
from recbole_tme.serving.bundle import pack
from recbole_tme.serving.recommender import Recommender

ITEMS = 300


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spread")
    pack(untrained("DANSeR", folder, ITEMS, embedding_size=16), folder / "bundle")
    return folder / "bundle"


def sessions(n):
    rng = np.random.default_rng(0)
    return [[f"i{item}" for item in rng.integers(0, ITEMS + 5, rng.integers(1, 6))] for _ in range(n)]


def test_forked_processes_answer_as_the_recommender_does(bundle, monkeypatch):
    monkeypatch.setattr(spread, "BLOCK", 16)
    recommender, asked = Recommender.load(bundle), sessions(150)
    alone = list(recommender.answers(asked, 5, True))
    several = list(spread.on_cores(recommender, 2)(iter(asked), 5, True))
    assert [one.items for one in several] == [one.items for one in alone]
    assert [one.source for one in several] == [one.source for one in alone]
    np.testing.assert_allclose([one.scores for one in several], [one.scores for one in alone], rtol=1e-5)


def test_a_few_sessions_start_no_process(bundle, monkeypatch):
    monkeypatch.setattr(spread.multiprocessing, "get_context", lambda *_: pytest.fail("a process is started"))
    recommender = Recommender.load(bundle)
    assert len(list(spread.on_cores(recommender, 2)(sessions(20), 5))) == 20
    assert spread.on_cores(recommender, 1) == recommender.answers


def test_errors_come_through_and_processes_end(bundle, monkeypatch):
    monkeypatch.setattr(spread, "BLOCK", 4)
    # Such as the tracker of multiprocessing, which lives as long as this process.
    before = set(psutil.Process(os.getpid()).children())
    answers = spread.on_cores(Recommender.load(bundle), 2)
    with pytest.raises(UserError, match="k: must be a whole number"):
        list(answers(sessions(40), ITEMS + 1))
    some = answers(sessions(400), 3)
    next(some)
    some.close()
    for _ in range(50):
        ours = set(psutil.Process(os.getpid()).children()) - before
        if not [child for child in ours if child.status() != psutil.STATUS_ZOMBIE]:
            break
        time.sleep(0.1)
    else:
        pytest.fail("processes are left")


def test_processes_end_whatever_this_one_does_with_signals(bundle, monkeypatch):
    monkeypatch.setattr(spread, "BLOCK", 4)
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        some = spread.on_cores(Recommender.load(bundle), 2)(sessions(400), 3)
        next(some)
        some.close()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_command_writes_the_same_file(bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(spread, "BLOCK", 16)
    lines = tmp_path / "sessions.txt"
    lines.write_text("".join(" ".join(session) + "\n" for session in sessions(100)))
    for processes in (1, 2):
        argv = ["recommend", str(bundle), f"--input={lines}", "-k=5", f"--processes={processes}"]
        assert main([*argv, f"--output={tmp_path / str(processes)}.csv"]) == 0
    assert (tmp_path / "1.csv").read_text() == (tmp_path / "2.csv").read_text()
    assert main(["recommend", str(bundle), f"--input={lines}", "--processes=0"]) == 2
    assert main(["recommend", str(bundle), "--session=i1", "--processes=2"]) == 2
    assert capsys.readouterr().err.count("error: --processes") == 2


@pytest.mark.slow
def test_a_cluster_answers_as_the_recommender_does(bundle, monkeypatch):
    pytest.importorskip("ray", reason="needs Ray, the extra tune")
    from recbole_tme.experiment.cluster import connected

    monkeypatch.setattr(spread, "BLOCK", 40)
    asked = sessions(100)
    with connected():
        several = list(spread.on_cluster(spread.Loading(bundle))(asked, 5))
        with pytest.raises(UserError, match="nowhere"):
            list(spread.on_cluster(spread.Loading(bundle / "nowhere"))(asked, 5))
    alone = list(Recommender.load(bundle).answers(asked, 5))
    assert [one.items for one in several] == [one.items for one in alone]
