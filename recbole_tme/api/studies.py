"""What a search is to do, resolved and checked before its first trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from recbole_tme.api.running import PathLike
from recbole_tme.config.declared import declared_keys
from recbole_tme.config.load import DEFAULT_MODEL, Overrides, SessionConfig, load_config, named_files
from recbole_tme.config.resolution import split_metrics
from recbole_tme.config.result_settings import NOT_IN_HASH
from recbole_tme.errors import UserError
from recbole_tme.evaluation.metrics import check_metrics
from recbole_tme.evaluation.protocol import load_data
from recbole_tme.experiment.cluster import Resources, check_resources
from recbole_tme.models import registry
from recbole_tme.schema.yamlfile import read_settings
from recbole_tme.tuning import DEFAULT_TRIALS
from recbole_tme.tuning.output import LiveTable, read_final, write_results
from recbole_tme.tuning.plan import Budget, Plan
from recbole_tme.tuning.search import make_search
from recbole_tme.tuning.space import load_space
from recbole_tme.tuning.study import Study as Trials
from recbole_tme.tuning.study import new_study_folder

# A re-run needs these of the user's settings, though they change no result.
KEPT_FOR_RERUN = {"data_path", "plugin", "metrics", "topk", "eval_batch_size", "device"}
# What may be said again when a study goes on; everything else is in its plan.
WITH_RESUME = {
    *("resume", "budget", "num_samples", "cpus_per_trial", "gpus_per_trial", "ray_address"),
    *("final_seeds", "compare"),
}
# By these the latest study is found, where none is named.
FINDS_STUDY = {"model", "dataset", "plugin", "run_dir"}


@dataclass(frozen=True)
class TuneOptions:
    """What ``recbole-tme tune`` is told; see its ``--help``. ``overrides`` are the settings all trials share."""

    model: str | None = None
    models: str | None = None
    dataset: str | None = None
    config_files: str = ""
    plugin: Sequence[PathLike] = field(default_factory=list)
    space: Path | None = None
    search: str = "optuna"
    scheduler: str = "asha"
    num_samples: int | None = None
    budget: str | None = None
    cpus_per_trial: float | None = None
    gpus_per_trial: float | None = None
    ray_address: str | None = None
    resume: str | None = None
    final_seeds: int = 0
    compare: bool = False
    overrides: Overrides = field(default_factory=Overrides)


def check_options(options: TuneOptions) -> None:
    """Refuse options that contradict one another.

    Raises:
        UserError: as said.
    """
    if options.model and options.models:
        raise UserError("--model and --models: give one of the two")
    if options.compare and not options.models and options.resume is None:
        raise UserError("--compare needs --models=NAME,NAME")
    if options.models and options.space:
        raise UserError("--space is one model's; tune the models one by one, or leave it out")
    if options.num_samples is not None and options.num_samples < 1:
        raise UserError(f"--num-samples={options.num_samples}: a study has at least one trial")
    if options.final_seeds < 0:
        raise UserError(f"--final-seeds={options.final_seeds}: give a number of seeds, 0 for none")
    if options.resume is not None:
        usual = TuneOptions(overrides=options.overrides)
        given = {one.name for one in fields(options) if getattr(options, one.name) != getattr(usual, one.name)}
        extra = sorted(
            (given | options.overrides.keys()) - (WITH_RESUME if options.resume else WITH_RESUME | FINDS_STUDY)
        )
        if extra:
            raise UserError(
                f"--{extra[0].replace('_', '-')} cannot change when a study is resumed; only "
                f"{', '.join('--' + name.replace('_', '-') for name in sorted(WITH_RESUME))} can"
            )


def budget_of(options: TuneOptions) -> Budget | None:
    """The budget that the options name, None where they name none.

    Raises:
        UserError: zero, or not a budget.
    """
    budget = Budget.parse(options.budget) if options.budget is not None else Budget()
    if options.num_samples is not None:
        if budget.trials is not None and budget.trials != options.num_samples:
            raise UserError(
                f"--num-samples={options.num_samples} and --budget={options.budget} differ; give one of the two"
            )
        budget = replace(budget, trials=options.num_samples)
    return None if budget == Budget() else budget


def new_plans(options: TuneOptions) -> tuple[list[Path], list[Plan]]:
    """Folders and plans of new studies, checked as far as they can be without Ray.

    Raises:
        UserError: as :func:`run`.
    """
    files = named_files(options.config_files)
    names = [name.strip() for name in options.models.split(",") if name.strip()] if options.models else [options.model]
    if len(set(names)) < len(names):
        raise UserError(f"--models={options.models}: a model is there twice; leave one out")
    configs = [load_config(name, options.dataset, files, overrides=known_to(name, names, options)) for name in names]
    plans = [make_plan(config, files, known_to(name, names, options), options) for name, config in zip(names, configs)]
    data = load_data(configs[0])
    for config in configs:
        check_metrics(split_metrics(config["metrics"])[0], config["topk"], config["valid_metric"], len(data.tokens) - 1)
    root = Path(configs[0]["run_dir"]) / configs[0]["dataset"]
    if options.models:
        root = new_study_folder(root)
        return [root / config.registered_name.replace(":", "-") for config in configs], plans
    return [new_study_folder(root / configs[0].registered_name.replace(":", "-"))], plans


def known_to(name: str | None, names: Sequence[str | None], options: TuneOptions) -> Overrides:
    """The settings of the command line without those that only other models have."""

    def keys(model: str | None) -> set[str]:
        outer = registry.resolve(model or DEFAULT_MODEL)
        return set(declared_keys(registry.with_backbone(outer, None))) | {"model", "dataset"}

    kept = Overrides()
    for key, value in options.overrides.items():
        if len(names) == 1 or key in keys(name) or not any(key in keys(other) for other in names):
            kept[key], kept.texts[key] = value, options.overrides.texts.get(key)
    return kept


def make_plan(config: SessionConfig, files: Sequence[Path], overrides: Overrides, options: TuneOptions) -> Plan:
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
    resources = resources_of(options, Resources(1, 1 if config["device"].type == "cuda" else 0))
    if overrides.get("device") == "cuda" and not resources.gpus:
        raise UserError("device: cuda and --gpus-per-trial=0 contradict one another; leave one out")
    budget = budget_of(options) or Budget(trials=DEFAULT_TRIALS)
    if budget.gpu_hours is not None and not resources.gpus:
        raise UserError(f"--budget={options.budget} counts GPU hours and the trials use no GPU; set --gpus-per-trial")
    if options.scheduler == "pbt" and budget.trials is None:
        raise UserError("--scheduler=pbt trains a population from the beginning; set its size by --num-samples")
    settings = config.plain()
    named = {key for file in files for key in read_settings(file).values} | set(overrides)
    given = {key: settings[key] for key in sorted(named & settings.keys() - {"model", "dataset", "backbone"})}
    plan = Plan(
        settings=settings,
        given={key: value for key, value in given.items() if key not in NOT_IN_HASH or key in KEPT_FOR_RERUN},
        fixed={key: value for key, value in given.items() if key in overrides},
        search=options.search,
        scheduler=options.scheduler,
        seed=config["seed"],
        budget=budget,
        resources=resources,
    )
    make_search(options.search, load_space(config, options.space).without(plan.fixed), plan.seed)
    return plan


def resources_of(options: TuneOptions, default: Resources) -> Resources:
    """What each trial occupies.

    Raises:
        UserError: an amount that cannot be handed out.
    """
    cpus = default.cpus if options.cpus_per_trial is None else options.cpus_per_trial
    gpus = default.gpus if options.gpus_per_trial is None else options.gpus_per_trial
    check_resources(Resources(cpus, gpus))
    return Resources(cpus, gpus)


def resumed_plans(options: TuneOptions) -> tuple[list[Path], list[Plan]]:
    """Folders and plans of studies that go on.

    Raises:
        UserError: there is none.
    """
    folder = Path(options.resume) if options.resume else latest_study(options)
    folders = [folder] if (folder / "plan.json").is_file() else sorted(p.parent for p in folder.glob("*/plan.json"))
    if not folders:
        raise UserError(f"--resume={folder}: not the folder of a study, which has a plan.json")
    plans = [Plan.read(folder) for folder in folders]
    budget = budget_of(options)
    return folders, [
        replace(plan, budget=budget or plan.budget, resources=resources_of(options, plan.resources)) for plan in plans
    ]


def latest_study(options: TuneOptions) -> Path:
    """The newest study of the model and data set that the options name.

    Raises:
        UserError: there is none.
    """
    config = load_config(options.model, options.dataset, overrides=options.overrides)
    parent = Path(config["run_dir"], config["dataset"], config.registered_name.replace(":", "-"))
    found = sorted(path.parent for path in parent.glob("tune-*/plan.json"))
    if not found:
        raise UserError(f"--resume: {parent} has no study; start one without --resume, or name its folder")
    return found[-1]


def open_study(folder: Path, plan: Plan, options: TuneOptions, table: LiveTable) -> Trials:
    """A study's folder, new or to go on with, that keeps its results up to date."""

    def changed(study: Trials) -> None:
        table(study)
        write_results(study, read_final(study.folder))

    if options.resume is not None:
        plan.write(folder)
        return Trials(folder, changed)
    config = load_config(config_dict=plan.settings)
    return Trials.create(folder, plan, load_space(config, options.space).source, changed=changed)
