"""The commands and their options, as the program itself explains them."""

from __future__ import annotations

import importlib
import os

from recbole_tme.cli import GROUPS, Parser


def commands_page() -> str:
    """What ``recbole-tme COMMAND --help`` prints, for every command."""
    os.environ["COLUMNS"] = "80"
    parts = [
        "# Commands",
        "`recbole-tme COMMAND --help` prints what is below. Dashes and underscores in options are the same. Commands "
        "that take settings take any key as `--key=value`, see [settings](settings.md). Exit codes: 0 done, 1 "
        "something was found (a failed run, a leak), 2 the input is wrong, 70 a fault of the program, 130 interrupted.",
    ]
    for group, commands in GROUPS.items():
        parts.append(f"## {group.capitalize()}")
        for name in commands:
            parser = Parser(prog=f"recbole-tme {name}", allow_abbrev=False)
            importlib.import_module(f"recbole_tme.commands.{name}").add_arguments(parser)
            parts.append(f"### {name}\n\n```text\n{parser.format_help().rstrip()}\n```")
    return "\n\n".join(parts) + "\n"
