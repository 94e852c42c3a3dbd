"""A server of its own process, measured over loopback beside the same calls in process."""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import torch
from _http_load import Load, load
from safetensors.torch import save_file

from recbole_tme.config.load import load_config
from recbole_tme.config.result_settings import result_settings
from recbole_tme.data.synthetic import random_sessions
from recbole_tme.models import registry
from recbole_tme.models.training_free.neighbours import SessionNeighbours
from recbole_tme.recbole_patches.stock import config_to_plain
from recbole_tme.runs.itemlist import ItemList
from recbole_tme.serving.bundle import pack
from recbole_tme.serving.recommender import Recommender
from recbole_tme.serving.saved import Catalogue, SavedModel, Settings
from recbole_tme.utils.hardware import one_thread

CLIENTS = (1, 16, 128)
K = 20
# Turns of one client over HTTP and in process, and the questions of a turn.
TURNS, QUESTIONS = 10, 20
# Per item, of a neighbourhood model's sessions.
CLICKS = 5
# Of a soak: clients at a time, and seconds from one reload to the next.
SOAK_CLIENTS, RELOAD_EVERY = 200, 5.0


def random_model(name: str, n_items: int, folder: Path) -> tuple[SavedModel, list[list[str]]]:
    """A network with random weights, which computes as long as a trained one, and sessions of one to eight items.

    A neighbourhood model gets sessions with popularity by Zipf's law, five clicks per item, and is asked for the
    beginnings of others.
    """
    config = load_config(name, "toy", config_dict={"device": "cpu"})
    settings = result_settings(config_to_plain(config)) | {"padding": "batch", "MAX_ITEM_LIST_LENGTH": 40}
    built = Settings(settings, device=torch.device("cpu"))
    torch.manual_seed(0)
    model_class = registry.resolve(config.registered_name)
    weights = model_class(built, Catalogue(n_items + 1, built)).state_dict()
    rng = np.random.default_rng(0)
    sessions = [rng.integers(n_items, size=rng.integers(1, 9)).astype(str).tolist() for _ in range(1000)]
    if issubclass(model_class, SessionNeighbours):
        clicks = random_sessions(CLICKS * n_items // 6 + len(sessions), n_items)
        known = clicks.slice(0, len(clicks) - len(sessions))
        weights |= {"clicks": torch.from_numpy(known.items), "offsets": torch.from_numpy(known.offsets)}
        others = [clicks[len(known) + i][:8] for i in range(len(sessions))]
        sessions = [(other[: max(1, len(other) - 1)] - 1).astype(str).tolist() for other in others]
    save_file(weights, folder / "model.safetensors")
    items = ItemList([str(i) for i in range(n_items)], np.ones(n_items, dtype=np.int64))
    return SavedModel(name, settings, items, weights, folder / "model.safetensors"), sessions


def measure_http(saved: SavedModel, sessions: Sequence[Sequence[str]], seconds: float, folder: Path) -> list[str]:
    """Rows of a Markdown table: a client's questions in process and over HTTP in turns, then more clients at a time.

    Args:
        saved: the model.
        sessions: to ask about.
        seconds: for each number of clients.
        folder: for its bundle.
    """
    pack(saved, folder / "bundle")
    recommender = Recommender.load(folder / "bundle")
    title = f"{saved.name}, {len(saved.items.ids):,} items"
    with serving(folder / "bundle") as (url, process):
        load(url, sessions, 4, 1)
        alone, over = [], []
        for turn in range(TURNS):
            part = sessions[turn * QUESTIONS : (turn + 1) * QUESTIONS]
            alone += [timed(recommender, session) for session in part]
            over += load(url, part, 1, sum(alone[-QUESTIONS:]) * 1.5).latencies
        rows = [
            f"| {title} | in process | | {1e3 * statistics.median(alone):.1f} | | |",
            f"| | HTTP in turns with it, 1 client | | {1e3 * statistics.median(over):.1f} | | |",
        ]
        for clients in CLIENTS:
            before = sum(process.cpu_times()[:2])
            found = load(url, sessions, clients, seconds)
            rows.append(row(clients, found, sum(process.cpu_times()[:2]) - before))
    return rows


def soak(saved: SavedModel, sessions: Sequence[Sequence[str]], seconds: float, folder: Path) -> str:
    """A row of a Markdown table: many clients for a while, the model reloaded every few seconds.

    Args:
        saved: the model.
        sessions: to ask about.
        seconds: that the clients ask.
        folder: for its bundle.
    """
    pack(saved, folder / "soak")
    memory, stop = [], threading.Event()
    with serving(folder / "soak") as (url, process):

        def reload() -> None:
            while not stop.wait(RELOAD_EVERY):
                process.send_signal(signal.SIGHUP)
                memory.append(process.memory_info().rss / 1e6)

        load(url, sessions, SOAK_CLIENTS, 2)
        reloading = threading.Thread(target=reload)
        reloading.start()
        found = load(url, sessions, SOAK_CLIENTS, seconds)
        stop.set()
        reloading.join()
    third = max(1, len(memory) // 3)
    first, last = (statistics.mean(part) if part else float("nan") for part in (memory[:third], memory[-third:]))
    waits = f"{found.percentile(0.5):.0f} | {found.percentile(0.99):.0f}"
    failed = ", ".join(f"{count} {what}" for what, count in found.failures.items()) or "0"
    return (
        f"| {saved.name}, {len(saved.items.ids):,} items | {seconds:g} | {len(memory)} | {len(found.latencies):,} | "
        f"{failed} | {found.rate:.0f} | {waits} | {first:.0f} | {last:.0f} |"
    )


def timed(recommender: Recommender, session: Sequence[str]) -> float:
    """Seconds of one call in process."""
    started = time.perf_counter()
    with one_thread():
        list(recommender.answers([session], K))
    return time.perf_counter() - started


def row(clients: int, found: Load, cpu: float) -> str:
    """One number of clients, as a row of the table; ``cpu`` is the server's CPU time in seconds."""
    if found.failures:
        raise SystemExit(f"{clients} clients: {dict(found.failures)}")
    each = 1e3 * cpu / len(found.latencies)
    waits = f"{found.percentile(0.5):.1f} | {found.percentile(0.99):.1f}"
    return f"| | {clients} | {found.rate:.0f} | {waits} | {each:.2f} |"


@contextmanager
def serving(bundle: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The address and the process of a server that ends with the block."""
    command = [sys.executable, "-m", "recbole_tme", "serve", str(bundle), "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            if not line.startswith("http://"):
                raise SystemExit("the server did not start")
            yield line.split()[0], psutil.Process(process.pid)
        finally:
            process.terminate()


HEAD = [
    "One server process and its clients share the processor; requests of one session, 20 items each.",
    "",
    "| model | clients | answers/s | p50, ms | p99, ms | server's CPU time each, ms |",
    "|---|---|---:|---:|---:|---:|",
]

SOAK_HEAD = [
    f"One server process and {SOAK_CLIENTS} clients share the processor; a reload every {RELOAD_EVERY:g} s. Memory is "
    "the mean of the first and of the last third of the reloads.",
    "",
    "| model | seconds | reloads | answers | failures | answers/s | p50, ms | p99, ms | first MB | last MB |",
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
]
