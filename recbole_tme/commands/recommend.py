"""``recbole-tme recommend``: recommendations for sessions on the command line, in a file or in a stream."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_tme.commands import options
from recbole_tme.commands.log_columns import add_column_arguments, log_columns
from recbole_tme.commands.model_options import add_model_options, say_new_items
from recbole_tme.errors import UserError
from recbole_tme.utils import terminal

if TYPE_CHECKING:
    from recbole_tme.serving.recommender import Recommender
    from recbole_tme.serving.session_files import NamedSession
    from recbole_tme.serving.spread import Answers

FORMATS = ("clicks", "lines")
MOST_PROCESSES = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``recbole-tme recommend``."""
    parser.description = (
        "Recommend items for sessions of external item ids, with the model of a finished run or of a bundle. Writes "
        "session, rank, item, its title where the data set has titles, score, and source: the model, or popularity "
        "for a session without a known item. How many were answered, and what had to be skipped, is said at the end."
    )
    options.add_run(parser, f"{options.RUN}; or a bundle")
    parser.add_argument(
        "--input",
        help="sessions in a file, - for the standard input: a session per line, or a click log of any form that "
        "prepare reads, with the same options for its columns",
    )
    parser.add_argument(
        "--format", choices=FORMATS, help="of the input: a click log, or lines of a session each (default: by the file)"
    )
    log = parser.add_argument_group("columns of a click log; --session without --input is one session: its item ids")
    add_column_arguments(log)
    parser.add_argument(
        "--output",
        type=Path,
        help="the file to write: Parquet for *.parquet, otherwise CSV (default: standard output)",
    )
    parser.add_argument("-k", type=int, default=20, help="items per session (default: %(default)s)")
    parser.add_argument("--exclude_seen", action="store_true", help="leave out the items of the session itself")
    add_model_options(parser)
    options.add_output(parser)
    many = parser.add_argument_group("many sessions; the answers and their order are the same")
    many.add_argument("--processes", type=int, help="of this machine, on the CPU without an index (default: its cores)")
    many.add_argument(
        "--ray-address", help="a running Ray cluster that sees the same files: auto, or HOST:PORT of its head"
    )


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme recommend`` with parsed arguments.

    Raises:
        UserError: the model cannot be loaded, an option is impossible, the input is empty or not well formed, or the
            output cannot be written.
    """
    import torch

    from recbole_tme.data.record import Record
    from recbole_tme.serving.recommend import write, write_recommendations
    from recbole_tme.serving.recommender import Recommender
    from recbole_tme.serving.rules.rules import Rules
    from recbole_tme.serving.session_files import NamedSession, read_sessions
    from recbole_tme.utils.files import replacing

    if args.input is None and args.session is None:
        raise UserError("give --session with item ids, or --input with a file of sessions")
    options.load_plugins(args)
    rules = None if args.rules is None else Rules.given(args.rules)
    processes = checked_processes(args)
    if processes > 1:
        # What is forked later must not have started threads of its own.
        torch.set_num_threads(1)
    recommender = Recommender.load(args.run, args.device, args.index, args.items, args.new_items)
    say_new_items(recommender.new_items, args.new_items)
    if recommender.index is not None and recommender.index.is_new:
        terminal.note(str(recommender.index))
    # Before the first session is waited for.
    recommender.answers([], args.k, args.exclude_seen, rules)
    record = Record()
    if args.input is None:
        sessions = iter([NamedSession("1", args.session.split())])
    else:
        sessions = read_sessions(args.input, args.format, _columns(args), record)
    first = next(sessions, None)
    if first is None:
        raise UserError(f"{args.input}: holds no session; give a session per line, or a click log")
    wanted: dict[str, Any] = {"k": args.k, "exclude_seen": args.exclude_seen, "rules": rules}
    # Lines of progress among those that are printed would be of no use.
    watched = args.input is not None and not (args.output is None and sys.stdout.isatty())
    showing = terminal.bar("recommending", None, "sessions", watched)
    with answering(args, recommender, processes) as wanted["answers"], showing as bar:
        counted = _counting(itertools.chain([first], sessions), bar)
        if args.output is None:
            skipped = write_recommendations(recommender, counted, sys.stdout, **wanted)
            sys.stdout.flush()
        else:
            with replacing(args.output) as file:
                skipped = write(recommender, counted, file, args.output.suffix.lower(), **wanted)
    for line in str(record).splitlines():
        terminal.note(line)
    terminal.note(skipped.summary)
    return 0


def checked_processes(args: argparse.Namespace) -> int:
    """How many processes of this machine answer.

    Raises:
        UserError: an impossible number, or one together with what cannot be shared.
    """
    from recbole_tme.utils.hardware import local_cpus

    alone = args.device != "cpu" or args.index is not None or args.ray_address is not None or args.input in (None, "-")
    if args.processes is None:
        return 1 if alone else local_cpus()
    if not 1 <= args.processes <= MOST_PROCESSES:
        raise UserError(f"--processes={args.processes}: must be from 1 to {MOST_PROCESSES}")
    if args.processes > 1 and alone:
        raise UserError("--processes: answers files alone, on the CPU, without --index and --ray-address; leave it out")
    return args.processes


@contextmanager
def answering(args: argparse.Namespace, recommender: Recommender, processes: int) -> Iterator[Answers]:
    """What answers, while the block lasts.

    Raises:
        UserError: nothing answers at the address of the cluster.
    """
    from recbole_tme.serving.spread import Loading, on_cluster, on_cores

    if args.ray_address is None:
        yield on_cores(recommender, processes)
        return
    from recbole_tme.experiment.cluster import connected

    items = None if args.items is None else args.items.absolute()
    plugins = tuple(Path(file).absolute() for file in args.plugin)
    new_items = tuple(file.absolute() for file in args.new_items)
    loading = Loading(options.run_path(args).absolute(), args.device, args.index, items, plugins, new_items)
    with connected(args.ray_address):
        yield on_cluster(loading)


def _counting(sessions: Iterable[NamedSession], bar: terminal.Bar) -> Iterator[NamedSession]:
    for session in sessions:
        yield session
        bar.advance()


def _columns(args: argparse.Namespace):
    """Which column is which, where an option says so; None where all is left to the file."""
    from recbole_tme.data.readers.columns import LogColumns

    columns = log_columns(args)
    return None if columns == LogColumns() and args.format != "clicks" else columns
