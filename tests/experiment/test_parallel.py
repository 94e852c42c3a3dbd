"""Several processes: shares of batches, exchanged gradients and ranks, and runs that end as one process's do."""

import contextlib
import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from helpers.run_results import only_run, results
from safetensors.torch import load_file
from torch import multiprocessing, nn

from recbole_tme.cli import main
from recbole_tme.config.load import load_config
from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.loader import build_loaders
from recbole_tme.data.synthetic import toy
from recbole_tme.errors import UserError
from recbole_tme.evaluation.ranks import rank_all
from recbole_tme.experiment.run import run
from recbole_tme.nn import distributed

ROOT = Path(__file__).parents[2]
TOY = {"show_progress": False, "epochs": 3, "embedding_size": 16, "train_batch_size": 71}


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def one_of_three(monkeypatch):
    """Makes this process pass for one of three; call it with the rank."""

    def pretend(rank):
        monkeypatch.setattr(distributed, "rank", lambda: rank)
        monkeypatch.setattr(distributed, "size", lambda: 3)

    return pretend


def toy_loaders(**settings):
    config = load_config("SRGNN", "toy", config_dict=TOY | settings)
    return build_loaders(config, SessionDataset(config, toy()).build())


def test_shares_make_up_the_batches_of_one_process(one_of_three):
    # One instance is left for the last batch: two of its shares are empty.
    batch_size = toy_loaders()[0].sample_size - 1
    alone = list(toy_loaders(train_batch_size=batch_size)[0])
    shares = []
    for rank in range(3):
        one_of_three(rank)
        shares.append(list(toy_loaders(train_batch_size=batch_size)[0]))
    assert {len(share) for share in shares} == {len(alone)}
    for batch, *parts in zip(alone, *shares):
        together = torch.cat([part["item_id"] for part in parts]).sort().values
        assert torch.equal(together, batch["item_id"].sort().values)
        lengths = [len(part) for part in parts]
        assert sum(lengths) == len(batch) and max(lengths) - min(lengths) <= 1


def test_shares_are_resumed_in_the_middle_of_an_epoch(one_of_three):
    one_of_three(1)
    loader = toy_loaders()[0]
    batches = iter(loader)
    next(batches)
    state = loader.state_dict()
    rest = [batch["item_id"].tolist() for batch in batches]
    again = toy_loaders(seed=9)[0]
    again.load_state_dict(state)
    assert [batch["item_id"].tolist() for batch in again] == rest


def test_evaluation_batches_are_shared_out_whole(one_of_three):
    alone = [index.tolist() for _, index in toy_loaders(eval_batch_size=50)[2].ranked_batches()]
    shares = []
    for rank in range(3):
        one_of_three(rank)
        shares += [index.tolist() for _, index in toy_loaders(eval_batch_size=50)[2].ranked_batches()]
    assert sorted(shares) == sorted(alone)


def test_alone_nothing_is_exchanged():
    model = net()
    model["layer"](torch.ones(2, 4)).sum().backward()
    before = model["layer"].weight.grad.clone()
    assert distributed.average_gradients(model, 2) == 1.0
    assert torch.equal(model["layer"].weight.grad, before)
    assert distributed.gather("x") == ["x"] and distributed.from_main(5) == 5
    assert distributed.total_by_name({"a": torch.tensor(2.0)}) == {"a": 2.0}


REFUSED = [
    (["--nproc=0"], "nproc"),
    (["--nproc=2", "--train_batch_size=1"], "train_batch_size"),
    (["--nproc=2.5"], "nproc"),
]


@pytest.mark.parametrize(("arguments", "word"), REFUSED)
def test_impossible_numbers_of_processes_are_refused(arguments, word, capsys):
    assert main(["--dataset=toy", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert word in line


@pytest.mark.parametrize("settings", [{"nproc": 3}, {"nproc": 2, "gpu_id": "0"}])
def test_each_process_needs_a_gpu_of_its_own(monkeypatch, settings):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert load_config("SRGNN", "toy", config_dict={"nproc": 2})["device"] == torch.device("cuda:0")
    with pytest.raises(UserError, match="a GPU each"):
        load_config("SRGNN", "toy", config_dict=settings)


def test_epochs_cannot_be_reported_from_other_processes():
    with pytest.raises(UserError, match="nproc"):
        run(load_config("SRGNN", "toy", config_dict=TOY | {"nproc": 2}), on_epoch=print)


# In two processes. What they find is compared with one process's work in the parent.


def net():
    torch.manual_seed(0)
    tables = {"table": nn.Embedding(9, 4, sparse=True), "unused": nn.Embedding(3, 4, sparse=True)}
    return nn.ModuleDict(tables | {"layer": nn.Linear(4, 3), "idle": nn.Linear(2, 2), "once": nn.Linear(4, 1)})


def loss_of(model, ids, with_once):
    hidden = model["table"](ids)
    loss = model["layer"](hidden).pow(2).mean()
    return loss + model["once"](hidden).mean() if with_once else loss


IDS = torch.tensor([1, 2, 2, 8, 5, 1, 7])


def exchange(rank, meeting_point, folder):
    torch.set_num_threads(1)
    with distributed.group(rank, 2, torch.device("cpu"), meeting_point):
        found = {}
        # Two rows and five; then none in one process, which also knows nothing of a layer.
        for name, parts in {"uneven": (IDS[:2], IDS[2:]), "empty": (IDS, IDS[:0])}.items():
            model, ids = net(), parts[rank]
            if len(ids):
                loss_of(model, ids, with_once=name == "uneven" or rank == 0).backward()
            found[f"{name} share"] = distributed.average_gradients(model, len(ids))
            found[name] = {n: None if p.grad is None else p.grad.to_dense() for n, p in model.named_parameters()}
        found["sent"] = distributed.take_sent()
        found["gathered"] = distributed.gather({"rank": rank})
        found["interface"] = os.environ["GLOO_SOCKET_IFNAME"]
        # Ray has a psutil of its own on the path, whose processes do not know this yet.
        sockets = [one for one in psutil.net_connections() if one.pid == os.getpid()]
        found["listens at"] = [one.laddr.ip for one in sockets if one.status == psutil.CONN_LISTEN]
        found["from main"] = distributed.from_main(f"of {rank}")
        found["names"] = distributed.total_by_name({"both": torch.tensor(1.5), f"only {rank}": torch.tensor(2.0)})
        batch_norm = nn.BatchNorm1d(3)
        batch_norm(torch.randn(5, 3) + rank)
        found["buffers before"] = batch_norm.running_mean.clone()
        distributed.broadcast_buffers(batch_norm)
        found["buffers"] = batch_norm.running_mean
        for size in (50, 10_000):
            model = ranked_model()
            loader = toy_loaders(eval_batch_size=size)[2]
            ranks = rank_all(model, loader, torch.device("cpu"))
            found[f"ranks by {size}"] = ranks.better, ranks.tied, ranks.target
        torch.save(found, folder / f"{rank}.pt")


def ranked_model():
    config = load_config("SRGNN", "toy", config_dict=TOY)
    torch.manual_seed(3)
    return config.model_class(config, SessionDataset(config, toy()).build()[0])


def test_what_two_processes_exchange(tmp_path):
    # Not forked: gradients cannot be taken in a fork of a process that has taken some in a thread.
    multiprocessing.start_processes(exchange, (tmp_path / "meet", tmp_path), nprocs=2, start_method="spawn")
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(2))
    alone = net()
    loss_of(alone, IDS, with_once=True).backward()
    expected = {n: None if p.grad is None else p.grad.to_dense() for n, p in alone.named_parameters()}
    for found in (first, second):
        for name in ("uneven", "empty"):
            torch.testing.assert_close(found[name], expected)
        assert found["uneven"]["idle.weight"] is None and found["uneven"]["unused.weight"] is None
        assert found["gathered"] == [{"rank": 0}, {"rank": 1}] and found["from main"] == "of 0"
        assert found["names"] == {"both": 3.0, "only 0": 2.0, "only 1": 2.0}
        assert torch.equal(found["buffers"], first["buffers before"])
        assert "127.0.0.1" in {one.address for one in psutil.net_if_addrs()[found["interface"]]}
        assert all("127.0.0.1" in address for address in found["listens at"])
    # 20 dense numbers twice, and per distinct row its number and its values: 2 and 5 of them, then 5 and none.
    assert (first["sent"], second["sent"]) == (2 * 80 + 7 * 24, 2 * 80 + 5 * 24)
    assert (first["uneven share"], second["uneven share"]) == (2 / 7, 5 / 7)
    assert (first["empty share"], second["empty share"]) == (1.0, 0.0)
    for size in (50, 10_000):
        whole = rank_all(ranked_model(), toy_loaders(eval_batch_size=size)[2], torch.device("cpu"))
        for found in (first, second):
            for ours, theirs in zip(found[f"ranks by {size}"], (whole.better, whole.tied, whole.target)):
                assert np.array_equal(ours, theirs)


# Whole runs, in processes of their own.


def command(*arguments) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    shared = ["--dataset=toy", "--show_progress=False", "--nproc=2", *arguments]
    return subprocess.Popen(
        [sys.executable, "-m", "recbole_tme", *shared],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        # A job in the background of a shell ignores interrupts, and so would all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.slow
def test_two_processes_do_what_one_does(tmp_path):
    """No layer of SRGNN draws random numbers, so that only the order of sums differs."""
    settings = TOY | {"learning_rate": 0.01, "valid_metric": "MRR@5", "retrain": True, "loss_precision": "fp32"}
    one, two = (
        run(load_config("SRGNN", "toy", config_dict=settings | {"nproc": n, "run_dir": str(n)})) for n in (1, 2)
    )
    assert {path.name for path in two.path.iterdir()} == {path.name for path in one.path.iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2"}
    ours, theirs = load_file(two.model_file), load_file(one.model_file)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=1e-4)
    for name, value in one.read_metrics()["test"].items():
        assert two.read_metrics()["test"][name] == pytest.approx(value, abs=0.01)
    losses = []
    for directory in (one, two):
        with directory.history_file.open() as file:
            losses.append([float(row["loss_recommendation"]) for row in csv.DictReader(file)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.slow
def test_sparse_losses_noise_and_resume_in_two_processes():
    model = {"rank_low": 3, "rank_high": 20, "negatives": 4, "dropout_prob": 0.3, "learning_rate": 0.01}
    settings = TOY | model | {"nproc": 2, "loss_type": "sampled", "n_sampled": 30, "epochs": 4, "clip_grad_norm": 1.0}
    whole = run(load_config("TMEGNNDP", "toy", config_dict=settings | {"run_dir": "whole"}))
    assert whole.read_metrics()["test"]["hit@5"] > 0.9
    process = command(
        f"--config_files={whole.config_file}", "--run_dir=killed", "--epochs=4000", "--stopping_step=4000"
    )
    # The history is there a moment earlier, and without a checkpoint the children of a killed parent remove the run.
    wait_for(process, "killed/*/*/*/checkpoint-select.pt")
    process.kill()
    process.wait()
    killed = only_run("killed")
    done = len(killed.history_file.read_text().splitlines()) - 1
    more = ["--epochs", str(done + 2)]
    assert main([f"--resume={killed.path}", *more]) == 0
    again = run(load_config("TMEGNNDP", "toy", config_dict=settings | {"run_dir": "again", "epochs": done + 2,
                                                                       "stopping_step": 4000}))  # fmt: skip
    assert results(killed) == results(again)


@pytest.mark.slow
def test_an_error_of_a_process_is_one_line_and_nobody_is_left():
    process = command("--learner=sgd", "--learning_rate=100", "--epochs=9")
    lines = process.communicate(timeout=120)[1].splitlines()
    assert process.returncode == 2
    assert [line for line in lines if "learning_rate" in line] == [lines[-1]] and lines[-1].startswith("error: ")
    assert not any("Traceback" in line for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["child", "parent", "interrupted parent"])
def test_when_one_is_killed_nobody_is_left(victim):
    process = command("--epochs=4000", "--stopping_step=4000")
    wait_for(process, "runs/*/*/*/checkpoint-select.pt")
    family = [child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())]
    assert len(family) == 2
    if victim == "child":
        family[1].kill()
    else:
        process.send_signal(signal.SIGKILL if victim == "parent" else signal.SIGINT)
    output = process.communicate(timeout=60)[1]
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive
    assert process.returncode == {"child": 2, "parent": -signal.SIGKILL, "interrupted parent": 130}[victim]
    if victim == "child":
        assert "error: a training process was killed" in output and "Traceback" not in output


def wait_for(process, pattern):
    deadline = time.monotonic() + 120
    while not list(Path().glob(pattern)):
        if process.poll() is not None or time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            raise AssertionError(process.communicate()[1])
        time.sleep(0.05)
