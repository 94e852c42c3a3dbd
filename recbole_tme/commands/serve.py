"""``recbole-tme serve``: recommendations over HTTP, and a page to try them in a browser."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_tme.commands import options
from recbole_tme.commands.model_options import add_model_options
from recbole_tme.errors import UserError
from recbole_tme.utils.installing import install_extra

if TYPE_CHECKING:
    from recbole_tme.serving.server.models import Models

NEEDED = ("fastapi", "uvicorn", "prometheus_client")
MOST_WORKERS = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``recbole-tme serve``."""
    parser.description = (
        "Serve the recommendations of finished runs or bundles over HTTP: POST /recommend, GET /model, /models, "
        "/items, /health, /ready and /metrics, their description at /docs, and a page to try them at /. SIGHUP "
        "reloads the models. Needs the extra serve, in a clone: pip install '.[serve]'."
    )
    parser.add_argument("run", type=Path, nargs="?", help=f'{options.RUN}; or a bundle; it is called "default"')
    models = parser.add_argument_group("models")
    models.add_argument(
        "--model", action="append", default=[], metavar="NAME=RUN", help="a further model; requests choose it by name"
    )
    models.add_argument("--split", metavar="NAME=SHARE,...", help="A/B split of the requests that have a key")
    models.add_argument("--shadow", metavar="NAME", help="a model that also answers; its answers are only counted")
    models.add_argument(
        "--watch", type=float, metavar="SECONDS", help="look for changed files so often and reload those models"
    )
    add_model_options(models)
    server = parser.add_argument_group("server")
    server.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine)")
    server.add_argument("--port", type=int, default=8000, help="0 takes any free one (default: %(default)s)")
    server.add_argument("--workers", type=int, default=1, help="processes that share the port (default: %(default)s)")
    server.add_argument("--token-file", type=Path, metavar="FILE", help="ask for the token in it (default: for none)")
    server.add_argument(
        "--allow-origin", action="append", default=[], metavar="URL", help="let web pages from there ask; * for all"
    )
    server.add_argument("--access-log", metavar="FILE", help="a line of JSON per request; - for the standard output")


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme serve`` with parsed arguments, until SIGINT or SIGTERM.

    Raises:
        UserError: a package of the extra is missing, an option is impossible, the address cannot be listened on, or a
            model cannot be loaded.
    """
    import torch

    from recbole_tme.serving.recommender import Recommender
    from recbole_tme.serving.server.app import make_app
    from recbole_tme.serving.server.logs import AccessLog
    from recbole_tme.serving.server.metrics import SHARED_FOLDER
    from recbole_tme.serving.server.models import Models, Served
    from recbole_tme.serving.server.protection import Access, read_token
    from recbole_tme.serving.server.serve import Reloader, is_loopback, listening_socket, serve
    from recbole_tme.serving.server.standing_rules import StandingRules
    from recbole_tme.serving.server.workers import run_workers

    check_numbers(args)
    with contextlib.ExitStack() as stack:
        if args.workers > 1 and SHARED_FOLDER not in os.environ:
            # prometheus_client looks for it when it is imported.
            os.environ[SHARED_FOLDER] = stack.enter_context(tempfile.TemporaryDirectory())
            stack.callback(os.environ.pop, SHARED_FOLDER, None)
        for package in NEEDED:
            try:
                importlib.import_module(package)
            except ImportError as error:
                raise UserError(f"{error.name} is not installed; run: {install_extra('serve')}") from error
        folders, split = named_models(args.run, args.model), shares(args.split)
        token = None if args.token_file is None else read_token(args.token_file)
        log = None if args.access_log is None else AccessLog(args.access_log).write
        options.load_plugins(args)
        # Before the models are loaded, which may take longer than finding out that the port is taken.
        listener = stack.enter_context(listening_socket(args.host, args.port))
        # What the workers share must not have started threads of its own.
        torch.set_num_threads(1)
        rules = None if args.rules is None else StandingRules(args.rules)

        def load(folder: Path) -> Recommender:
            recommender = Recommender.load(folder, args.device, args.index, args.items, args.new_items)
            # A model that cannot follow the rules is not to take the place of one that can.
            recommender.compiled(None if rules is None else rules.current())
            return recommender

        beside = [*([] if args.items is None else [args.items]), *args.new_items]
        models = Models([Served(name, folder, load, beside) for name, folder in folders], split, args.shadow)
        if rules is not None:
            rules.check_with(lambda: [served.now.recommender for served in models.by_name.values()])
        local = {"localhost", "127.0.0.1", "[::1]", args.host.lower()} if is_loopback(listener) else None
        access = Access(token, args.allow_origin, local)

        def work(ready: Callable[[], None] = lambda: None) -> None:
            app = make_app(models, access, log or (lambda _: None), Reloader(models, args.watch), rules)
            serve(app, listener, ready)

        ready = partial(announce, listener, models, token)
        work(ready) if args.workers == 1 else run_workers(args.workers, work, ready)
    return 0


def announce(listener: socket.socket, models: Models, token: str | None) -> None:
    """Say where the server is and what is to be known of it."""
    from recbole_tme.serving.server.serve import address, is_loopback

    recommenders = [served.now.recommender for served in models.by_name.values()]
    for recommender in recommenders:
        if recommender.index is not None:
            print(f"note: {recommender.index}", file=sys.stderr)
        if recommender.new_items:
            print(f"note: {recommender.name}: {recommender.new_items:,} new items by their content", file=sys.stderr)
    names = " and ".join(recommender.name for recommender in recommenders)
    print(f"{address(listener)} recommends with {names}; stop it with Ctrl-C", flush=True)
    if not is_loopback(listener) and token is None:
        print("note: other machines can reach this address, and no token is required", file=sys.stderr)


def check_numbers(args: argparse.Namespace) -> None:
    """Refuse numbers that no server can have.

    Raises:
        UserError: names the option.
    """
    if not 1 <= args.workers <= MOST_WORKERS:
        raise UserError(f"--workers={args.workers}: must be from 1 to {MOST_WORKERS}")
    if args.workers > 1 and args.device != "cpu":
        raise UserError("--workers: a GPU cannot be shared by forked processes; leave it out or take --device=cpu")
    if args.workers > 1 and not hasattr(os, "fork"):
        raise UserError("--workers: this system cannot fork; start several servers behind a proxy")
    if args.watch is not None and not 0.1 <= args.watch <= 86400:
        raise UserError(f"--watch={args.watch:g}: must be from 0.1 to 86400 seconds")


def named_models(run: Path | None, given: list[str]) -> list[tuple[str, Path]]:
    """Names and folders of the models, in the order in which they were given.

    Raises:
        UserError: there is none, or a ``--model`` has no name or no folder, or a folder of runs has no finished one.
    """
    from recbole_tme.runs.find import named_run

    models = [] if run is None else [("default", run)]
    for one in given:
        name, _, folder = one.partition("=")
        if not name or not folder or not name.isprintable():
            raise UserError(f"--model={one}: must be NAME=RUN, a name and a run directory or a bundle")
        models.append((name, Path(folder)))
    if not models:
        raise UserError("name a run directory or a bundle, or several as --model=NAME=RUN")
    # Now, so that all that a server tells and watches is of this run.
    return [(name, named_run(folder)) for name, folder in models]


def shares(text: str | None) -> dict[str, float] | None:
    """An A/B split by model.

    Raises:
        UserError: it is no list of NAME=SHARE, or names a model twice.
    """
    if text is None:
        return None
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.partition("=")
        try:
            number = float(share)
        except ValueError:
            number = float("nan")
        if not name or not 0 <= number <= 1 or name in found:
            raise UserError(f"--split={text}: must be NAME=SHARE,... with each model once, such as a=0.9,b=0.1")
        found[name] = number
    return found
