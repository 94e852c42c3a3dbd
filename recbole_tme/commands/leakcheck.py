"""``recbole-tme leakcheck``: do the scores of a test instance depend on anything but its session's clicks?"""

from __future__ import annotations

import argparse

from recbole_tme.commands import options
from recbole_tme.errors import UserError

TAKES_KEYS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``recbole-tme leakcheck``."""
    parser.description = (
        "Score real test instances in batches as evaluation would, then a second time, after other instances, beside "
        "other targets, under other session ids, in reversed order, alone, and padded further and less; build the "
        "model where there is no test session; watch which files of clicks it opens. Prints the share of instances "
        "whose scores move and what the model does. Exit code 1 where any moves. A model given by name is checked with "
        "its initial weights; any configuration key can be set as --key=value."
    )
    options.add_run(parser, "a finished run, to check it with its trained weights", nargs="?")
    parser.add_argument("--model", help="default TMEGNN, or the model of the plug-in; recbole:NAME for RecBole's own")
    options.add_dataset(parser)
    options.add_config_files(parser)
    options.add_plugin(parser)
    options.add_output(parser)
    parser.add_argument("--instances", type=int, default=2048, help="test instances scored (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme leakcheck`` with parsed arguments; 1 where scores move.

    Raises:
        UserError: an option, the model or the data set is wrong.
    """
    from recbole_tme.config.load import load_config
    from recbole_tme.evaluation.protocol import load_data, trained_on
    from recbole_tme.experiment.leakcheck import check_leaks, report
    from recbole_tme.experiment.loading import build_model, load_run

    if args.instances < 1:
        raise UserError(f"--instances: must be a whole number of at least 1, not {args.instances}")
    plugged = options.load_plugins(args)
    if args.run is not None:
        if args.model or args.dataset or args.config_files:
            raise UserError("a run brings its model, data set and settings; leave --model and the like out")
        config, data, model, loaders = load_run(options.run_path(args), args.overrides)
    else:
        name = args.model
        if name is None and plugged:
            if len(plugged) > 1:
                raise UserError(f"--plugin defines several models; choose one: --model={' or --model='.join(plugged)}")
            name = plugged[0]
        files = options.named_files(args)
        config = load_config(name, args.dataset, files, overrides=args.overrides)
        data = trained_on(config, load_data(config))
        model, loaders = build_model(config, data)
    found = check_leaks(model.eval(), loaders, config, data, args.instances)
    print(report(found, config))
    return 1 if found.leaks else 0
