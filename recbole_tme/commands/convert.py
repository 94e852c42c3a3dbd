"""``recbole-tme convert``: a RecBole user's yaml as ours, with what replaces the keys that do not apply."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recbole_tme.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``recbole-tme convert``."""
    parser.description = (
        "Write the settings of a RecBole yaml as recbole-tme run takes them, with RecBole's defaults where ours are "
        "others. Lists every key that does not apply here with what replaces it, and the command that makes the data "
        "set. A yaml that means another protocol is refused."
    )
    parser.add_argument("yaml", type=Path, help="RecBole's yaml")
    parser.add_argument("--model", help="the model's name in RecBole, where the yaml does not say it")
    parser.add_argument("--dataset", help="the data set's name in RecBole, where the yaml does not say it")
    parser.add_argument("--out", type=Path, help="the yaml to write (default: standard output)")


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme convert`` with parsed arguments.

    Raises:
        UserError: as :func:`~recbole_tme.config.convert.convert`, or ``--out`` exists or cannot be written.
    """
    from recbole_tme.config.convert import convert
    from recbole_tme.config.ignored_keys import instead
    from recbole_tme.utils.files import write_atomically

    if args.out is not None and args.out.exists():
        raise UserError(f"{args.out} exists already; name another file for --out")
    converted = convert(args.yaml, args.model, args.dataset)
    if args.out is None:
        print(converted.text, end="")
        return 0
    write_atomically(args.out, converted.text.encode())
    for key, what in converted.left_out.items():
        print(f"left out: {key} ({instead(what)})", file=sys.stderr)
    print(f"written to {args.out}; {'first run ' + converted.prepare if converted.prepare else 'no prepare is needed'}")
    print(f"then: recbole-tme run --config_files={args.out}")
    return 0
