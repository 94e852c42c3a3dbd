"""``recbole-tme reproduce``: a published table measured again, beside its published figures."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from recbole_tme.commands import options
from recbole_tme.errors import UserError

TAKES_KEYS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``recbole-tme reproduce``."""
    parser.usage = "recbole-tme reproduce NAME --data=FOLDER [options] [--KEY=VALUE ...]"
    parser.description = (
        "Measure a published table again: prepare the paper's data, run its models by its protocol, and print the "
        "published figures beside ours, on the sessions they are of and on all of the test set. Finished runs are "
        "used again. Exit code: 0 all done, 1 a model failed, 2 bad input."
    )
    parser.add_argument("name", help="which table, such as ecir24")
    parser.add_argument("--data", type=Path, required=True, help="folder with the paper's files")
    parser.add_argument("--models", help="comma-separated rows of the table (default: all)")
    parser.add_argument("--seeds", type=int, default=1, help="per model that a seed can change (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="runs at once (default: %(default)s)")
    options.add_output(parser)
    parser.add_argument("--into", type=Path, help="replace the text between <!-- NAME: begin --> and <!-- NAME: end -->"
                        " in this file")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme reproduce`` with parsed arguments; ``args.overrides`` are settings for all rows.

    Raises:
        UserError: the table, a model or a file is not there, or an option is impossible.
    """
    from recbole_tme.api.comparing import do_all
    from recbole_tme.comparison import reproduction
    from recbole_tme.config.load import load_config
    from recbole_tme.utils.files import insert_between, writing

    for name, value in (("--seeds", args.seeds), ("--workers", args.workers)):
        if value < 1:
            raise UserError(f"{name}: must be at least 1, not {value}")
    table = reproduction.read(args.name)
    rows = table.chosen(None if args.models is None else [name.strip() for name in args.models.split(",")])
    config = load_config(rows[0].model, table.data["name"], overrides=args.overrides)
    wanted = reproduction.prepared(table, args.data, Path(config["data_path"]))
    logs = Path(config["run_dir"]) / table.data["name"] / f"reproduce-{args.name}"
    ended = do_all(reproduction.jobs(table, rows, args.seeds, args.overrides, logs), args.workers, None)
    measured = reproduction.measure(table, rows, ended, wanted)
    text = reproduction.page(table, measured, shlex.join(["recbole-tme", *said(sys.argv[1:])]))
    print(text)
    if args.into:
        with writing(args.into):
            insert_between(args.into, f"<!-- {args.name}: begin -->", f"<!-- {args.name}: end -->", text)
    return int(any(one.directory is None for one in ended))


def said(words: list[str]) -> list[str]:
    """The command line without what changes no figure: where files are."""
    local = ("--into", "--run_dir", "--data_path", "--show_progress", "--workers", "--threads")
    kept = [word for word in words if word.partition("=")[0] not in local]
    return ["--data=FOLDER" if word.startswith("--data=") else word for word in kept]
