"""``recbole-tme serve``: recommendations over HTTP, and a page to try them in a browser."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

import torch

from recbole_tme.errors import UserError
from recbole_tme.models.registry import load_plugin
from recbole_tme.serving.recommender import Recommender
from recbole_tme.serving.server.app import make_app, model_card
from recbole_tme.serving.server.serve import GRACE, MAX_CONNECTIONS, address, is_loopback, listening_socket
from recbole_tme.utils.hardware import keep_freed_memory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``recbole-tme serve``."""
    parser.description = (
        "Serve the recommendations of a finished run or of a bundle over HTTP: POST /recommend, GET /model, /items and "
        "/health, and a page to try them at /. Needs pip install 'recbole_tme[serve]'. There is no password: whoever "
        "reaches the address may ask."
    )
    parser.add_argument("run", type=Path, help="a run directory or a bundle")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine)")
    parser.add_argument("--port", type=int, default=8000, help="0 takes any free one (default: %(default)s)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="(default: %(default)s)")
    parser.add_argument(
        "--index",
        choices=("faiss",),
        help="look the best items up in an index of the item vectors, made once and kept beside the weights, for large "
        "catalogues; it misses a few (default: every item is scored)",
    )
    parser.add_argument("--plugin", action="append", default=[], help="a file that defines the model of a bundle")


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme serve`` with parsed arguments, until SIGINT or SIGTERM.

    Raises:
        UserError: FastAPI or uvicorn is missing, the address cannot be listened on, or the model cannot be loaded.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise UserError(f"{error.name} is not installed; pip install 'recbole_tme[serve]'") from error
    for plugin in args.plugin:
        load_plugin(plugin)
    # Before the model is loaded, which may take longer than finding out that the port is taken.
    with listening_socket(args.host, args.port) as listener:
        recommender = Recommender.load(args.run, args.device, args.index)
        if recommender.index is not None:
            print(f"note: {recommender.index}", file=sys.stderr)
        app = make_app(recommender, model_card(recommender, args.run))
        options = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=GRACE,
        )
        server = uvicorn.Server(options)
        # uvicorn raises the signal it was stopped by once more when all is done; that is no error here.
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signal_number, lambda *_: setattr(server, "should_exit", True))
        print(f"{address(listener)} recommends with {recommender.name}; stop it with Ctrl-C", flush=True)
        if not is_loopback(listener):
            print("note: other machines can reach this address, and nobody is asked for a password", file=sys.stderr)
        # Each batch takes and frees the same large blocks; and two threads for scoring would leave none for listening.
        keep_freed_memory()
        torch.set_num_threads(1)
        server.run(sockets=[listener])
    return 0
