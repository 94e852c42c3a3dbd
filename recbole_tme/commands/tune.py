"""``recbole-tme tune``: search a model's settings on validation, on this machine or on a Ray cluster."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from recbole_tme.config.declared import declared_keys
from recbole_tme.config.load import NOT_IN_HASH, Overrides, SessionConfig, load_config, named_files
from recbole_tme.errors import UserError
from recbole_tme.evaluation.metrics import check_metrics
from recbole_tme.evaluation.protocol import load_data
from recbole_tme.experiment.cluster import Resources, check_resources, connected
from recbole_tme.models import registry
from recbole_tme.schema.yamlfile import read_settings
from recbole_tme.tuning.journal import FAILED
from recbole_tme.tuning.output import LiveTable, read_final, write_results
from recbole_tme.tuning.plan import Budget, Plan
from recbole_tme.tuning.plots import write_plots
from recbole_tme.tuning.ray_tune import SCHEDULERS
from recbole_tme.tuning.search import SEARCHES, make_search
from recbole_tme.tuning.space import load_space
from recbole_tme.tuning.study import Study, final_runs, new_study_folder

TAKES_KEYS = True
DEFAULT_TRIALS = 20
# Seeds of a comparison of tuned models, where none are asked for.
COMPARED_SEEDS = 3
# A re-run needs these of the user's settings, though they change no result.
KEPT_FOR_RERUN = {"data_path", "plugin", "metrics", "topk", "eval_batch_size", "device"}
# What may be said again when a study goes on; everything else is in its plan.
WITH_RESUME = {
    *("resume", "budget", "num_samples", "cpus_per_trial", "gpus_per_trial", "ray_address"),
    *("final_seeds", "compare"),
}
# By these the latest study is found, where none is named.
FINDS_STUDY = {"model", "dataset", "plugin", "run_dir"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``recbole-tme tune``."""
    parser.usage = "recbole-tme tune [--model=NAME] [--dataset=NAME] [--num-samples=N] [options] [--KEY=VALUE ...]"
    parser.description = (
        "Search a model's settings. Every trial trains with settings from the model's search space and is judged by "
        "its validation metric after each epoch; the test set is not looked at. Leaves a folder with best.yaml, "
        "trials.csv, study.json and plots. A configuration key given as --KEY=VALUE is the same in all trials."
    )
    parser.add_argument("--model", help="default TMEGNN; recbole:NAME for a built-in of RecBole")
    parser.add_argument("--models", help="several, comma-separated, each with the whole budget")
    parser.add_argument("--dataset", help="default ml100k-sessions, which every install has")
    parser.add_argument("--config_files", default="", help="comma- or space-separated YAML files to start from")
    parser.add_argument("--plugin", action="append", default=[], help="a file that defines further models")
    parser.add_argument("--space", type=Path, help="search space (default: properties/space/<Model>.yaml)")
    parser.add_argument("--search", choices=SEARCHES, default="optuna", help="(default: %(default)s)")
    parser.add_argument("--scheduler", choices=SCHEDULERS, default="asha", help="which trials to stop early (default: "
                        "%(default)s)")  # fmt: skip
    parser.add_argument("--num-samples", type=int, help=f"trials (default: {DEFAULT_TRIALS}, or as many as a budget of "
                        "time allows)")  # fmt: skip
    parser.add_argument("--budget", help="40 (trials), 30m, 2h (time), 2gpuh (GPU hours), or several: 40,2h")
    parser.add_argument("--cpus-per-trial", type=float, help="cores, and threads, of each trial (default: 1)")
    parser.add_argument("--gpus-per-trial", type=float, help="GPUs, or a share of one such as 0.25 (default: 1 where "
                        "the model would train on a GPU, else 0)")  # fmt: skip
    parser.add_argument("--ray-address", help="join a Ray cluster: auto or HOST:PORT (default: this machine alone)")
    parser.add_argument("--resume", nargs="?", const="", metavar="STUDY", help="go on with a study's folder (default: "
                        "the latest of this model and data set)")  # fmt: skip
    parser.add_argument("--final-seeds", type=int, default=0, metavar="N", help="then train the best settings anew on "
                        "train + validation with N seeds, and evaluate each once on test")  # fmt: skip
    parser.add_argument("--compare", action="store_true", help="then compare the tuned --models (recbole-tme compare)")


def run(args: argparse.Namespace) -> int:
    """Run ``recbole-tme tune`` with parsed arguments; ``args.overrides`` are the settings all trials share.

    Returns:
        0, or 1 where a study found nothing because all its trials failed.

    Raises:
        UserError: an option, a setting or the space is wrong, the machine has too little, or no cluster is reached.
    """
    check_options(args)
    for plugin in args.plugin:
        registry.load_plugin(Path(plugin))
    folders, plans = resumed_plans(args) if args.resume is not None else new_plans(args)
    resources = plans[0].resources
    table = LiveTable(sys.stderr)
    with connected(args.ray_address, resources):
        studies = [open_study(folder, plan, args, table) for folder, plan in zip(folders, plans)]
        for study in studies:
            print(f"study: {study.folder}", file=sys.stderr)
            work(study, 0 if args.compare else args.final_seeds)
    if args.compare:
        return compare(studies, args)
    return 1 if any(study.best is None for study in studies) else 0


def check_options(args: argparse.Namespace) -> None:
    """Refuse options that contradict one another.

    Raises:
        UserError: as said.
    """
    if args.model and args.models:
        raise UserError("--model and --models: give one of the two")
    if args.compare and not args.models and args.resume is None:
        raise UserError("--compare needs --models=NAME,NAME")
    if args.models and args.space:
        raise UserError("--space is one model's; tune the models one by one, or leave it out")
    if args.num_samples is not None and args.num_samples < 1:
        raise UserError(f"--num-samples={args.num_samples}: a study has at least one trial")
    if args.final_seeds < 0:
        raise UserError(f"--final-seeds={args.final_seeds}: give a number of seeds, 0 for none")
    if args.resume is not None:
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        given = {name for name, value in vars(args).items() if value != parser.get_default(name)} - {"overrides"}
        extra = sorted((given | args.overrides.keys()) - (WITH_RESUME if args.resume else WITH_RESUME | FINDS_STUDY))
        if extra:
            raise UserError(
                f"--{extra[0].replace('_', '-')} cannot change when a study is resumed; only "
                f"{', '.join('--' + name.replace('_', '-') for name in sorted(WITH_RESUME))} can"
            )


def budget_of(args: argparse.Namespace) -> Budget | None:
    """The budget that the options name, None where they name none.

    Raises:
        UserError: zero, or not a budget.
    """
    budget = Budget.parse(args.budget) if args.budget is not None else Budget()
    if args.num_samples is not None:
        if budget.trials is not None and budget.trials != args.num_samples:
            raise UserError(f"--num-samples={args.num_samples} and --budget={args.budget} differ; give one of the two")
        budget = replace(budget, trials=args.num_samples)
    return None if budget == Budget() else budget


def new_plans(args: argparse.Namespace) -> tuple[list[Path], list[Plan]]:
    """Folders and plans of new studies, checked as far as they can be without Ray.

    Raises:
        UserError: as :func:`run`.
    """
    files = named_files(args.config_files)
    names = [name.strip() for name in args.models.split(",") if name.strip()] if args.models else [args.model]
    if len(set(names)) < len(names):
        raise UserError(f"--models={args.models}: a model is there twice; leave one out")
    configs = [load_config(name, args.dataset, files, overrides=known_to(name, names, args)) for name in names]
    plans = [make_plan(config, files, known_to(name, names, args), args) for name, config in zip(names, configs)]
    data = load_data(configs[0])
    for config in configs:
        check_metrics(config["metrics"], config["topk"], config["valid_metric"], len(data.tokens) - 1)
    root = Path(configs[0]["run_dir"]) / configs[0]["dataset"]
    if args.models:
        root = new_study_folder(root)
        return [root / config.registered_name.replace(":", "-") for config in configs], plans
    return [new_study_folder(root / configs[0].registered_name.replace(":", "-"))], plans


def known_to(name: str | None, names: Sequence[str | None], args: argparse.Namespace) -> Overrides:
    """The settings of the command line without those that only other models have."""

    def keys(model: str) -> set[str]:
        outer = registry.resolve(model)
        return set(declared_keys(registry.with_backbone(outer, None))) | {"model", "dataset"}

    kept = Overrides()
    for key, value in args.overrides.items():
        if len(names) == 1 or key in keys(name) or not any(key in keys(other) for other in names):
            kept[key], kept.texts[key] = value, args.overrides.texts.get(key)
    return kept


def make_plan(config: SessionConfig, files: Sequence[Path], overrides: Overrides, args: argparse.Namespace) -> Plan:
    """The plan of a new study of one model.

    Raises:
        UserError: settings that a study cannot have, a bad space or budget, or a library that is not installed.
    """
    if config["select_on"] == "test":
        raise UserError("select_on: test would tune on the test set; leave it out")
    if config["nproc"] > 1:
        raise UserError(f"nproc: {config['nproc']} processes per trial; trials run side by side, set --cpus-per-trial")
    if config["gpu_id"]:
        raise UserError(f"gpu_id: {config['gpu_id']}: Ray assigns the GPUs to the trials; leave it out")
    resources = resources_of(args, Resources(1, 1 if config["device"].type == "cuda" else 0))
    if overrides.get("device") == "cuda" and not resources.gpus:
        raise UserError("device: cuda and --gpus-per-trial=0 contradict one another; leave one out")
    budget = budget_of(args) or Budget(trials=DEFAULT_TRIALS)
    if budget.gpu_hours is not None and not resources.gpus:
        raise UserError(f"--budget={args.budget} counts GPU hours and the trials use no GPU; set --gpus-per-trial")
    if args.scheduler == "pbt" and budget.trials is None:
        raise UserError("--scheduler=pbt trains a population from the beginning; set its size by --num-samples")
    settings = config.plain()
    named = {key for file in files for key in read_settings(file).values} | set(overrides)
    given = {key: settings[key] for key in sorted(named & settings.keys() - {"model", "dataset", "backbone"})}
    plan = Plan(
        settings=settings,
        given={key: value for key, value in given.items() if key not in NOT_IN_HASH or key in KEPT_FOR_RERUN},
        fixed={key: value for key, value in given.items() if key in overrides},
        search=args.search,
        scheduler=args.scheduler,
        seed=config["seed"],
        budget=budget,
        resources=resources,
    )
    make_search(args.search, load_space(config, args.space).without(plan.fixed), plan.seed)
    return plan


def resources_of(args: argparse.Namespace, default: Resources) -> Resources:
    """What each trial occupies.

    Raises:
        UserError: an amount that cannot be handed out.
    """
    cpus = default.cpus if args.cpus_per_trial is None else args.cpus_per_trial
    gpus = default.gpus if args.gpus_per_trial is None else args.gpus_per_trial
    check_resources(Resources(cpus, gpus))
    return Resources(cpus, gpus)


def resumed_plans(args: argparse.Namespace) -> tuple[list[Path], list[Plan]]:
    """Folders and plans of studies that go on.

    Raises:
        UserError: there is none.
    """
    folder = Path(args.resume) if args.resume else latest_study(args)
    folders = [folder] if (folder / "plan.json").is_file() else sorted(p.parent for p in folder.glob("*/plan.json"))
    if not folders:
        raise UserError(f"--resume={folder}: not the folder of a study, which has a plan.json")
    plans = [Plan.read(folder) for folder in folders]
    budget = budget_of(args)
    return folders, [
        replace(plan, budget=budget or plan.budget, resources=resources_of(args, plan.resources)) for plan in plans
    ]


def latest_study(args: argparse.Namespace) -> Path:
    """The newest study of the model and data set that the options name.

    Raises:
        UserError: there is none.
    """
    config = load_config(args.model, args.dataset, overrides=args.overrides)
    parent = Path(config["run_dir"]) / config["dataset"] / config.registered_name.replace(":", "-")
    found = sorted(path.parent for path in parent.glob("tune-*/plan.json"))
    if not found:
        raise UserError(f"--resume: {parent} has no study; start one without --resume, or name its folder")
    return found[-1]


def open_study(folder: Path, plan: Plan, args: argparse.Namespace, table: LiveTable) -> Study:
    """A study's folder, new or to go on with, that keeps its results up to date."""

    def changed(study: Study) -> None:
        table(study)
        write_results(study, read_final(study.folder))

    if args.resume is not None:
        plan.write(folder)
        return Study(folder, changed)
    config = load_config(config_dict=plan.settings)
    return Study.create(folder, plan, load_space(config, args.space).source, changed=changed)


def work(study: Study, final_seeds: int) -> None:
    """Run a study, evaluate its best settings where that is asked for, and say what came out."""
    study.run()
    final = read_final(study.folder)
    write_results(study, final)
    if not study.done:
        print(f"note: the budget is spent; --resume={study.folder} --budget=... goes on", file=sys.stderr)
    note = write_plots(study)
    if note:
        print(f"note: {note}", file=sys.stderr)
    if study.best is None:
        reasons = [trial.trace.strip().splitlines()[-1] for trial in study.trials if trial.status == FAILED]
        print(f"no trial has a score; {reasons[-1] if reasons else 'the budget ended before'}", file=sys.stderr)
        return
    for warning in study.space.warnings(study.best.settings):
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{study.metric} {100 * study.best.score:.2f} on validation: {study.folder / 'best.yaml'}")
    if final_seeds:
        for one in final_runs(study, final_seeds, final):
            final = [*(run for run in final if run["seed"] != one["seed"]), one]
            write_results(study, sorted(final, key=lambda run: run["seed"]))
        for one in sorted(final, key=lambda run: run["seed"]):
            shown = one.get("error") or ", ".join(f"{name} {100 * value:.2f}" for name, value in one["test"].items())
            print(f"seed {one['seed']} on test: {shown}")


def compare(studies: Sequence[Study], args: argparse.Namespace) -> int:
    """Hand the tuned settings to ``recbole-tme compare``."""
    from recbole_tme.commands import compare as comparison

    parser = argparse.ArgumentParser(allow_abbrev=False)
    comparison.add_arguments(parser)
    words = [
        f"--models={','.join(study.config.registered_name for study in studies)}",
        f"--dataset={studies[0].config['dataset']}",
        f"--tuned={studies[0].folder.parent}",
        f"--seeds={args.final_seeds or COMPARED_SEEDS}",
        *(f"--plugin={plugin}" for plugin in args.plugin),
        *([f"--ray-address={args.ray_address}"] if args.ray_address else []),
    ]
    arguments = parser.parse_args(words)
    arguments.overrides = args.overrides
    return comparison.run(arguments)
