"""The command line: parsing only, every sub-command is a function elsewhere."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

from recbole_tme.errors import UserError
from recbole_tme.utils.installing import recbole_missing

# Each is a module with add_arguments(parser) and run(arguments); it is imported when its command is called. One with
# TAKES_KEYS = True finds the configuration keys among its arguments as ``arguments.overrides``.
COMMANDS = (
    *("prepare", "audit", "table", "significance", "report", "compare", "reproduce", "tune", "diagnose", "recommend"),
    *("bundle", "leakcheck", "serve", "export", "list", "doctor"),
)
# How long and where a run goes on may change; what it computes may not.
CHANGEABLE_ON_RESUME = {
    *("epochs", "stopping_step", "show_progress", "data_path"),
    *("device", "gpu_id", "use_gpu", "threads", "data_cache"),
}

RUN_USAGE = """\
recbole-tme [run] [--model=NAME] [--dataset=NAME] [--config_files=FILE,...] [--plugin=FILE.py]
                   [--resume=RUN] [--KEY=VALUE ...]

Train a model, select its epoch on validation, evaluate it once on test and leave a run directory.
Any configuration key can be set as --key=value or --key value; `recbole-tme list keys MODEL` prints them all.
"""


def main(argv: list[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 done, 2 the input is wrong, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    # PyTorch's CPU threads spin for milliseconds at every barrier unless told otherwise, which makes training several
    # times slower as soon as another process wants a core. It has to be said before PyTorch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    try:
        return dispatch(argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if error.name != "recbole":
            raise
        print(f"error: {recbole_missing()}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever read the output has closed it (| head); Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        is_run = not argv or argv[0] not in COMMANDS
        print(f"interrupted{'; continue with --resume=<run directory>' if is_run else ''}", file=sys.stderr)
        return 130


def dispatch(argv: list[str]) -> int:
    """Hand over to the sub-command; no sub-command means ``run``."""
    if not argv or argv[0] not in COMMANDS:
        return run_command(argv[1:] if argv[:1] == ["run"] else argv)
    parser = argparse.ArgumentParser(prog=f"recbole-tme {argv[0]}", allow_abbrev=False)
    module = importlib.import_module(f"recbole_tme.commands.{argv[0]}")
    module.add_arguments(parser)
    if not getattr(module, "TAKES_KEYS", False):
        return module.run(parser.parse_args(argv[1:])) or 0

    from recbole_tme.config.load import parse_overrides

    arguments, rest = parser.parse_known_args(argv[1:])
    arguments.overrides = parse_overrides(rest)
    return module.run(arguments) or 0


def run_command(argv: list[str]) -> int:
    """``recbole-tme run``: everything that is not one of the program's own options is a configuration key."""
    parser = argparse.ArgumentParser(prog="recbole-tme run", usage=RUN_USAGE, allow_abbrev=False)
    parser.add_argument("--model", help="default TMEGNN; recbole:NAME for a built-in of RecBole")
    parser.add_argument("--dataset", help="default ml100k-sessions, which every install has")
    parser.add_argument("--config_files", default="", help="comma- or space-separated YAML files, later ones win")
    parser.add_argument("--plugin", action="append", default=[], help="a file that defines further models")
    parser.add_argument("--resume", help="a run directory to continue")
    options, rest = parser.parse_known_args(argv)

    from recbole_tme.config.load import load_config, named_files, parse_overrides
    from recbole_tme.experiment.run import run
    from recbole_tme.models.registry import load_plugin
    from recbole_tme.runs.directory import RunDirectory

    for plugin in options.plugin:
        load_plugin(Path(plugin))
    files = named_files(options.config_files)
    overrides = parse_overrides(rest)
    if options.resume is None:
        run(load_config(options.model, options.dataset, files, overrides=overrides))
        return 0
    if options.model or options.dataset or files:
        raise UserError("--resume takes the model, the data set and all settings from the run; leave the others out")
    fixed = sorted(set(overrides) - CHANGEABLE_ON_RESUME)
    if fixed:
        raise UserError(
            f"--{fixed[0]} cannot change when a run is resumed (only {', '.join(sorted(CHANGEABLE_ON_RESUME))} can); "
            f"start a new run with --config_files={Path(options.resume) / 'config.yaml'}"
        )
    directory = RunDirectory.open(options.resume)
    run(load_config(None, None, [directory.config_file], overrides=overrides), resume=directory)
    return 0
