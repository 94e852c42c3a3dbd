"""``recbole-tme list``: the models, data sets, keys and runs there are."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from recbole_tme.commands import options
from recbole_tme.errors import UserError
from recbole_tme.utils.tabular import aligned

if TYPE_CHECKING:
    import pandas as pd

INDENT = "    "


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``recbole-tme list``."""
    parser.usage = "recbole-tme list {models,datasets,runs}\n       recbole-tme list keys MODEL [WORD]"
    parser.description = "List the models, the data sets, the keys of a model (its own first), or the runs so far."
    parser.add_argument("what", choices=("models", "datasets", "keys", "runs"))
    parser.add_argument("model", nargs="?", help="the model whose keys are listed")
    parser.add_argument("word", nargs="?", help="list only keys with this word in their name or meaning")
    parser.add_argument("--backbone", help="the model that a model such as ATSRec trains")
    options.add_plugin(parser)
    parser.add_argument("--data_path", default="dataset_atomic", help="folder of data sets (default %(default)s)")
    parser.add_argument("--run_dir", default="runs", help="folder of runs (default %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Print what there is.

    Raises:
        UserError: the plug-in, the model or its property file is wrong.
    """
    from recbole_tme.api import listing

    if args.what != "keys" and (args.model or args.backbone):
        raise UserError(f"list {args.what} takes no further argument, got {args.model or args.backbone!r}")
    options.load_plugins(args)
    if args.what == "models":
        _print_table(listing.list_models())
    elif args.what == "datasets":
        _print_table(listing.list_datasets(args.data_path))
    elif args.what == "runs":
        runs = listing.list_runs(args.run_dir)
        _print_runs(runs) if len(runs) else print(f"no runs below {args.run_dir}; train one with recbole-tme run")
    else:
        if args.model is None:
            raise UserError("list keys needs a model, such as: recbole-tme list keys TMEGNN")
        print("\n".join(key_lines(listing.list_keys(args.model, args.backbone), args.word)))
    return 0


def key_lines(keys: pd.DataFrame, word: str | None = None) -> Iterator[str]:
    """Two parts a key: name, default, type and range; below them its meaning, as wide as the terminal.

    Raises:
        UserError: no key has the word.
    """
    width = _width()
    shown = 0
    for key in keys.to_dict("records"):
        if word is not None and word.lower() not in f"{key['key']} {key['meaning']}".lower():
            continue
        shown += 1
        kind = f"({key['type']})" if key["type"] else ""
        facts = "  ".join(filter(None, (kind, key["range"], key["file"])))
        yield from textwrap.wrap(f"{key['key']} = {key['default'] or 'None'}  {facts}", width, subsequent_indent=INDENT)
        yield from textwrap.wrap(key["meaning"], width, initial_indent=INDENT, subsequent_indent=INDENT)
    if not shown:
        raise UserError(f"no key has {word!r} in its name or meaning; leave the word out to see all")


def _print_table(frame: pd.DataFrame) -> None:
    """Aligned columns; the last one is wrapped to the terminal's width."""
    *front, last = [frame[name].astype(str).tolist() for name in frame]
    *heads, last_head = map(str, frame.columns)
    widths = [max(map(len, [head, *column])) for head, column in zip(heads, front)]
    room = max(20, _width() - sum(widths) - 2 * len(widths))
    for *cells, text in [(*heads, last_head), *zip(*front, last)]:
        lines = textwrap.wrap(text, room) or [""]
        print("  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths)), lines[0]]).rstrip())
        for line in lines[1:]:
            print(" " * (sum(widths) + 2 * len(widths)) + line)


def _print_runs(runs: pd.DataFrame) -> None:
    shown = runs.copy()
    shown["began"] = shown["began"].dt.strftime("%Y-%m-%d %H:%M").fillna("?")
    shown["seed"] = shown["seed"].map(lambda seed: "?" if seed is None or seed != seed else str(int(seed)))
    shown["MRR@20"] = shown["MRR@20"].map(lambda value: "-" if value is None or value != value else f"{value:.2f}")
    shown["MB"] = shown["MB"].map("{:.1f}".format)
    # The directory has a line of its own: with it no row would fit a terminal.
    directories = shown.pop("run")
    lines = aligned(list(shown.columns), shown.astype(str).values.tolist()).splitlines()
    for line, directory in zip(lines, ["", *directories]):
        print(line)
        if directory:
            print(f"{INDENT}{directory}")


def _width() -> int:
    return min(shutil.get_terminal_size().columns, 120)
