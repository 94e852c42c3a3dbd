"""The program `recbole-tme`: finds the sub-command, reads its options, and turns errors into one line each."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence

from recbole_tme import __version__
from recbole_tme.errors import OF_THE_SYSTEM, Interrupted, UserError, os_problem
from recbole_tme.models.plugins import plugin_to_blame
from recbole_tme.utils import terminal
from recbole_tme.utils.installing import recbole_missing
from recbole_tme.utils.spelling import did_you_mean
from recbole_tme.utils.tabular import printable

# Each is a module of ``commands`` with add_arguments(parser) and run(arguments), imported when its command is called.
# One with TAKES_KEYS = True finds the configuration keys among its arguments as ``arguments.overrides``.
GROUPS: dict[str, dict[str, str]] = {
    "data": {
        "prepare": "turn a click log or published files into a data set",
        "audit": "statistics of a data set, and warnings about it",
        "convert": "a RecBole yaml as ours, and what replaces the rest",
    },
    "train": {
        "run": "train a model, select its epoch, evaluate it once",
        "estimate": "the memory and the time of a run before it starts",
        "refit": "train a finished run's model on all of the data",
        "update": "carry a run's model over to a newer log",
        "tune": "search a model's settings on validation",
        "list": "models, data sets, keys of a model, finished runs",
        "show": "results and settings of a run",
        "doctor": "whether everything works on this machine",
    },
    "compare": {
        "compare": "train several models by one protocol and report on them",
        "report": "finished runs as one page and as tables",
        "table": "finished runs as a Markdown table",
        "significance": "intervals and paired tests of finished runs",
        "reproduce": "a published table measured again, beside its figures",
        "diagnose": "degenerate item vectors, and what random clicks cost",
        "leakcheck": "whether scores depend on what a model must not see",
    },
    "deploy": {
        "recommend": "recommendations for new sessions",
        "serve": "recommendations over HTTP, and a page to try them",
        "bundle": "a trained model as one folder to hand on",
        "export": "a trained model as one ONNX or PyTorch file",
    },
}
COMMANDS = {name: line for group in GROUPS.values() for name, line in group.items()}
INTERRUPTED, UNEXPECTED = 130, 70


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 done, 2 the input is wrong, 70 a fault of this program, 130
    interrupted; some commands use 1 to say that they found something."""
    argv = list(sys.argv[1:] if argv is None else argv)
    # PyTorch's CPU threads spin for milliseconds at every barrier unless told otherwise, which makes training several
    # times slower as soon as another process wants a core. It has to be said before PyTorch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    with_traceback = "--traceback" in argv
    argv = [word for word in argv if word != "--traceback"]
    try:
        code = dispatch(argv)
        # Now, because at exit a full disk would only make the interpreter complain.
        sys.stdout.flush()
        return code
    except UserError as error:
        if with_traceback:
            traceback.print_exc()
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever read the output has closed it (| head); Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt as error:
        print(f"interrupted{f'; {error}' if isinstance(error, Interrupted) else ''}", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "recbole":
            print(f"error: {recbole_missing()}", file=sys.stderr)
            return 2
        if with_traceback:
            raise
        if (blamed := plugin_to_blame(error)) is not None:
            print(f"error: {printable(str(blamed))}", file=sys.stderr)
            return 2
        if isinstance(error, OSError) and error.errno in OF_THE_SYSTEM:
            print(f"error: {printable(os_problem(error))}", file=sys.stderr)
            _drop_output()
            return 2
        print(f"error: {_written_down()}", file=sys.stderr)
        return UNEXPECTED


def _drop_output() -> None:
    """What could not be printed is not tried again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def dispatch(argv: list[str]) -> int:
    """Call the sub-command; options alone mean ``run``, nothing at all means ``help``."""
    if "_ARGCOMPLETE" in os.environ:
        complete()
    if not argv or argv[0] in ("--help", "-h"):
        print(overview())
        return 0
    if argv[0] == "--version":
        print(f"recbole-tme {__version__}")
        return 0
    if argv[0] == "help":
        if len(argv) == 1:
            print(overview())
            return 0
        argv = [argv[1], "--help"]
    name = "run" if argv[0].startswith("-") else argv[0]
    if name not in COMMANDS:
        raise UserError(f"{name!r} is not a command{did_you_mean(name, COMMANDS)}; recbole-tme help lists them")
    command = importlib.import_module(f"recbole_tme.commands.{name}")
    parser = Parser(prog=f"recbole-tme {name}", allow_abbrev=False)
    command.add_arguments(parser)
    arguments = parse(parser, argv if argv[0].startswith("-") else argv[1:], getattr(command, "TAKES_KEYS", False))
    # Not for the command itself, which may hand all its arguments on.
    how_much = {name: vars(arguments).pop(name, False) for name in ("quiet", "verbose")}
    with terminal.saying(**how_much):
        return command.run(arguments) or 0


def complete() -> None:
    """Answer a shell that asks for completions, and exit; ``eval "$(register-python-argcomplete recbole-tme)"`` lets it
    ask. Nothing happens without the package argcomplete."""
    with contextlib.suppress(ImportError):
        import argcomplete

        parser = argparse.ArgumentParser(prog="recbole-tme")
        commands = parser.add_subparsers()
        for name in COMMANDS:
            importlib.import_module(f"recbole_tme.commands.{name}").add_arguments(commands.add_parser(name))
        argcomplete.autocomplete(parser)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and whose options may be written with dashes or underscores."""

    def error(self, message):
        raise UserError(f"{message}; {self.prog} --help shows the options")

    def names(self) -> dict[str, str]:
        """The options as declared, by their spelling with underscores."""
        return {_underscored(option): option for option in self._option_string_actions if option.startswith("--")}


def parse(parser: Parser, argv: Sequence[str], takes_keys: bool) -> argparse.Namespace:
    """Read the words behind a command.

    Args:
        parser: with the command's own options.
        argv: the words.
        takes_keys: everything else is a configuration key, put into ``overrides``.

    Raises:
        UserError: an option does not exist or has no value; names the nearest one.
    """
    own, words = parser.names(), []
    for word in argv:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            option = own.get(_underscored(name), f"--{_underscored(name)}")
            if equals and not value and option in parser._option_string_actions:
                raise UserError(f"{name}= has nothing behind it; give it a value, or leave it out")
            word = f"{option}{equals}{value}"
        words.append(word)
    arguments, rest = parser.parse_known_args(words)
    if takes_keys:
        from recbole_tme.config.load import parse_overrides

        arguments.overrides = parse_overrides(rest)
        for key in arguments.overrides:
            _refuse_misspelt_option(key, parser)
    elif rest:
        unknown = rest[0].partition("=")[0]
        what = f"{unknown} is not an option" if unknown.startswith("-") else f"{unknown!r} is one argument too many"
        hint = did_you_mean(unknown, own.values())
        raise UserError(f"{what} of {parser.prog}{hint}; {parser.prog} --help shows them")
    return arguments


def overview() -> str:
    """All commands in their groups, 80 columns wide."""
    lines = [
        "recbole-tme: session-based recommendation with RecBole",
        "",
        "usage: recbole-tme COMMAND [options]    recbole-tme COMMAND --help explains one",
    ]
    for group, commands in GROUPS.items():
        lines += ["", group]
        for name, line in commands.items():
            lines.append(f"  {name:<13} {line}")
    lines += [
        "",
        "recbole-tme run trains TMEGNN on data that every install has. A first try:",
        "  recbole-tme run --model=SRGNN --dataset=ml100k-sessions --epochs=3",
    ]
    return "\n".join(lines)


def _refuse_misspelt_option(key: str, parser: Parser) -> None:
    """A word near an option of the command and near no configuration key is that option, misspelt."""
    from recbole_tme.config.declared import all_keys

    if key not in all_keys():
        options = [option.removeprefix("--") for option in parser.names()]
        hint = did_you_mean(key, options, at_least=0.75)
        if hint and not did_you_mean(key, all_keys(), at_least=0.85):
            raise UserError(f"--{key} is not an option of {parser.prog}{hint}")


def _underscored(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def _written_down() -> str:
    """Keep the traceback of an unexpected exception in a file; returns the line that names both."""
    error = sys.exc_info()[1]
    said = (str(error).strip().splitlines() or [""])[0]
    text = f"recbole-tme {__version__}: {sys.argv}\n{traceback.format_exc()}"
    try:
        handle, name = tempfile.mkstemp(prefix="recbole-tme-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError:
        name = "what it prints with --traceback"
    return (
        f"this is a fault of recbole-tme ({type(error).__name__}: {said}); please report it with {name} and what "
        f"recbole-tme doctor prints"
    )
