"""Options that several commands share: the run, the data set, settings files and plug-ins."""

from __future__ import annotations

import argparse
from pathlib import Path

RUN = "a run directory, a folder of runs (its newest finished one), or latest"


def add_run(parser: argparse.ArgumentParser, what: str = RUN, **arguments) -> None:
    """The positional argument that names a run or a bundle; :func:`run_path` reads it."""
    parser.add_argument("run", type=Path, help=what, **arguments)


def run_path(args: argparse.Namespace) -> Path:
    """The run that ``args.run`` means.

    Raises:
        UserError: there is none.
    """
    from recbole_tme.runs.find import named_run

    return named_run(args.run)


def run_paths(args: argparse.Namespace) -> list[Path]:
    """The runs or folders of ``args.runs``, with ``latest`` for the newest run.

    Raises:
        UserError: there is no run for ``latest``.
    """
    from recbole_tme.runs.find import LATEST, named_run

    return [named_run(path) if str(path) == LATEST else path for path in args.runs]


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """``--dataset``."""
    parser.add_argument("--dataset", help="default ml100k-sessions, which every install has")


def add_config_files(parser: argparse.ArgumentParser) -> None:
    """``--config_files``; :func:`named_files` reads it."""
    parser.add_argument("--config_files", default="", help="comma- or space-separated YAML files, later ones win")


def named_files(args: argparse.Namespace) -> list[Path]:
    """The files of ``--config_files``."""
    return [Path(name) for name in args.config_files.replace(",", " ").split()]


def add_plugin(parser: argparse.ArgumentParser) -> None:
    """``--plugin``; :func:`load_plugins` reads it."""
    parser.add_argument("--plugin", action="append", default=[], metavar="FILE.py", help="a file that defines models")


def load_plugins(args: argparse.Namespace) -> list[str]:
    """Load the files of ``--plugin``; returns the names of their models.

    Raises:
        UserError: a file is missing, or its code fails.
    """
    from recbole_tme.models.registry import load_plugin

    return [name for file in args.plugin for name in load_plugin(Path(file))]


def add_output(parser: argparse.ArgumentParser) -> None:
    """``--quiet`` and ``--verbose`` of a command that shows progress; the program obeys them."""
    how_much = parser.add_mutually_exclusive_group()
    how_much.add_argument("--quiet", action="store_true", help="print results, warnings and errors only")
    how_much.add_argument("--verbose", action="store_true", help="print everything that is logged, too")


def add_index(parser: argparse.ArgumentParser) -> None:
    """``--index``."""
    parser.add_argument(
        "--index",
        choices=("faiss",),
        help="look the best items up in an index of the item vectors, made once and kept beside the weights, for large "
        "catalogues; it misses a few (default: every item is scored, and always with rules)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """``--device`` of a command that computes with a trained model."""
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="(default: %(default)s)")
