"""What single settings imply together: metrics and their K, negatives for the loss, the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from recbole.utils import InputType

from recbole_tme.errors import UserError
from recbole_tme.models import registry
from recbole_tme.models.builtin import discovery
from recbole_tme.utils.spelling import did_you_mean

# With one target per instance these are one number.
METRIC_SYNONYMS = {"Recall": "Hit", "P": "Hit", "HR": "Hit", "MAP": "MRR"}
# RecBole's metrics of which items are recommended, in place of how the target ranks; they select no epoch.
OF_LISTS = ("ItemCoverage", "AveragePopularity", "ShannonEntropy", "GiniIndex", "TailPercentage")
UNIFORM_NEGATIVES = {"distribution": "uniform", "sample_num": 1, "alpha": 1.0, "dynamic": False, "candidate_num": 0}
# RecBole's models that stop, one of them without an exception, for another loss than cross entropy.
CE_ONLY = ("CORE", "GRU4RecCPR", "SASRecCPR")
# Losses of ours whose gradients are of single rows of the item table; RecBole's models have CE and BPR.
ROW_LOSSES = ("sampled", "scalable")
# Not empty while settings are resolved for processes of other machines.
_elsewhere: list[bool] = []
CLIP_ARGUMENTS = ("max_norm", "norm_type", "error_if_nonfinite", "foreach")


def resolve(settings: dict[str, Any], given: Mapping[str, Any], model_class: type) -> dict[str, Any]:
    """Bring settings that depend on one another into one form, in place.

    Args:
        settings: every setting, as plain data.
        given: those that the user gave.
        model_class: the model.

    Returns:
        The values RecBole expects where they are not plain data or have another form, by key.

    Raises:
        UserError: settings that contradict one another or the machine.
    """
    _check_names(settings)
    _resolve_metrics(settings)
    settings["logger"] = list(dict.fromkeys(_listed(settings["logger"])))
    _resolve_loss(settings)
    settings["train_neg_sample_args"] = _negatives(settings, given, model_class)
    if hasattr(model_class, "check_settings"):
        model_class.check_settings(settings)
    device = choose_device(settings["device"], settings["gpu_id"], settings["use_gpu"])
    _check_processes(settings, device)
    return {
        "train_neg_sample_args": settings["train_neg_sample_args"],
        "clip_grad_norm": _clip_arguments(settings["clip_grad_norm"]),
        "gpu_id": "" if settings["gpu_id"] is None else settings["gpu_id"],
        "device": device,
    }


def split_metrics(metrics: str | Iterable[str]) -> tuple[list[str], list[str]]:
    """The metrics of the target's rank, and those of :data:`OF_LISTS`, among names as in the key ``metrics``."""
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    of_lists = [name for name in names if name in OF_LISTS]
    return [name for name in names if name not in of_lists], of_lists


def name_loggers(given: dict[str, Any], defaults: Mapping[str, Any]) -> None:
    """Turn RecBole's ``log_wandb`` into one of the words of ``logger``, in place."""
    if given.pop("log_wandb", False):
        given["logger"] = [*_listed(given.get("logger", defaults["logger"])), "wandb"]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


def choose_device(device: str, gpu_id: str | None, use_gpu: bool) -> torch.device:
    """The device that the settings ask for.

    Args:
        device: "cpu", "cuda", or "auto" for a GPU if there is one.
        gpu_id: number of the GPU among the visible ones; None for the first, empty for none.
        use_gpu: False for the CPU, whatever there is.

    Raises:
        UserError: a GPU is asked for that does not exist, or asked for and refused at once.
    """
    asked = f"gpu_id: {gpu_id}" if gpu_id else "device: cuda" if device == "cuda" else None
    refused = "use_gpu: False" if not use_gpu else "device: cpu" if device == "cpu" else None
    if gpu_id == "":
        refused = refused or "gpu_id: ''"
    if asked and refused:
        raise UserError(f"{asked} asks for a GPU and {refused} for the CPU; leave one of them out")
    if gpu_id and not gpu_id.strip().isdecimal():
        raise UserError(f"gpu_id: {gpu_id!r} is not the number of one GPU; a run uses one, such as gpu_id: 0")
    number = int(gpu_id or 0)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked and number >= count:
        there = f"torch sees {count}" if count else "torch sees no GPU here"
        raise UserError(f"{asked} asks for a GPU that does not exist ({there}); set device: auto or cpu")
    return torch.device("cpu") if refused or not count else torch.device("cuda", number)


@contextmanager
def on_a_cluster() -> Iterator[None]:
    """Settings that are resolved while the block lasts are for processes of other machines, whose GPUs are not here."""
    _elsewhere.append(True)
    try:
        yield
    finally:
        _elsewhere.pop()


def _check_names(settings: Mapping[str, Any]) -> None:
    """Refuse one name for two fields of a batch, of which one would hide the other."""
    item = settings["ITEM_ID_FIELD"]
    names = {key: settings[key] for key in ("USER_ID_FIELD", "ITEM_ID_FIELD", "ITEM_LIST_LENGTH_FIELD")}
    names["ITEM_ID_FIELD and LIST_SUFFIX"] = f"{item}{settings['LIST_SUFFIX']}"
    for key, name in names.items():
        other = next((one for one, value in names.items() if value == name and one != key), None)
        if other is not None:
            raise UserError(
                f"{key}: {name} is also {other}; these are the names of a batch's fields. Which column of a file is "
                "which is told to recbole-tme prepare (--session, --item)"
            )


def _check_processes(settings: Mapping[str, Any], device: torch.device) -> None:
    """Refuse more processes than there are GPUs or instances in a batch."""
    n = settings["nproc"]
    if n == 1:
        return
    if n > settings["train_batch_size"]:
        raise UserError(
            f"nproc: {n} processes cannot share batches of train_batch_size: {settings['train_batch_size']}"
        )
    if _elsewhere:
        return
    if device.type == "cuda" and (settings["gpu_id"] or n > torch.cuda.device_count()):
        there = f"gpu_id: {settings['gpu_id']}" if settings["gpu_id"] else f"torch sees {torch.cuda.device_count()}"
        raise UserError(f"nproc: {n} processes need a GPU each ({there}); set device: cpu or another nproc")


def _resolve_metrics(settings: dict[str, Any]) -> None:
    metrics = settings["metrics"] if isinstance(settings["metrics"], list) else [settings["metrics"]]
    settings["metrics"] = metrics = list(dict.fromkeys(METRIC_SYNONYMS.get(metric, metric) for metric in metrics))
    topk = settings["topk"] if isinstance(settings["topk"], list) else [settings["topk"]]
    settings["topk"] = topk = sorted(set(topk))
    name, _, k = settings["valid_metric"].partition("@")
    by_lower = {word.lower(): METRIC_SYNONYMS.get(word, word) for word in (*metrics, *METRIC_SYNONYMS)}
    name = by_lower.get(name.strip().lower(), name)
    accuracy, _ = split_metrics(metrics)
    possible = [f"{metric}@{k}" for metric in accuracy for k in topk]
    if f"{name}@{k.strip()}" not in possible:
        hint = did_you_mean(settings["valid_metric"], possible)
        why = "selects no epoch" if name in OF_LISTS else "is not computed"
        choices = f"choose one of metrics at one of topk: {', '.join(possible)}" if possible else "add MRR to metrics"
        raise UserError(f"valid_metric: {settings['valid_metric']} {why}; {choices}{hint}")
    settings["valid_metric"] = f"{name}@{k.strip()}"


def _resolve_loss(settings: dict[str, Any]) -> None:
    """Check the loss, and turn ``auto`` into ``full`` where another setting needs the whole catalogue; else the model
    decides, once it knows how large that is."""
    loss, learner = settings.get("loss_type"), settings["learner"]
    content = settings.get("item_content") or settings.get("item_vectors")
    if loss == "auto" and (learner != "adam" or content or settings.get("adv_attack") == "closed_form"):
        settings["loss_type"] = loss = "full"
    if loss == "BPR" and settings.get("builtin_loss", "own") != "own":
        raise UserError(
            f"builtin_loss: {settings['builtin_loss']} is for softmax over the catalogue, which loss_type: BPR is not; "
            f"leave one of them out"
        )
    if loss in ROW_LOSSES and learner != "adam":
        raise UserError(
            f"learner: {learner} cannot change single rows of the item table, which loss_type: {loss} is for; "
            f"set learner: adam"
        )


def _negatives(settings: Mapping[str, Any], given: Mapping[str, Any], model_class: type) -> dict[str, Any] | None:
    """Negative sampling arguments: none for losses over the catalogue, one uniform negative for pairwise losses."""
    loss = settings.get("loss_type")
    # Our models' property file names their losses, by which the value is checked already.
    if loss is not None and loss not in ("CE", "BPR") and "n_sampled" not in settings:
        raise UserError(f"loss_type: {loss} is no loss of RecBole's models; use CE or BPR")
    name = model_class.__name__
    trained = registry.innermost(model_class)
    if loss == "BPR" and trained.__name__ in CE_ONLY and discovery.is_builtin(trained):
        raise UserError(f"loss_type: RecBole's {trained.__name__} knows no loss but CE; leave the key out")
    input_type = getattr(model_class, "input_type", None)
    if input_type is None and loss is None:
        raise UserError(f"model {name} has neither an input_type nor a loss_type; set input_type = InputType.POINTWISE")
    if input_type is not None and not isinstance(input_type, InputType):
        raise UserError(
            f"model {name}: input_type must be an InputType, such as InputType.POINTWISE, not {input_type!r}"
        )
    pairwise = input_type == InputType.PAIRWISE if input_type is not None else loss == "BPR"
    if "train_neg_sample_args" not in given:
        return dict(UNIFORM_NEGATIVES) if pairwise else None
    wanted = given["train_neg_sample_args"]
    for key in wanted or ():
        if key not in UNIFORM_NEGATIVES:
            raise UserError(f"train_neg_sample_args: unknown key {key!r}{did_you_mean(str(key), UNIFORM_NEGATIVES)}")
    wanted = None if wanted is None or wanted.get("distribution") in (None, "none", "None") else wanted
    why = f"loss_type: {loss}" if input_type is None else f"model {name}"
    if pairwise and wanted is None:
        raise UserError(f"train_neg_sample_args: {why} needs negatives; leave the key out for one uniform negative")
    if not pairwise and wanted is not None:
        raise UserError(f"train_neg_sample_args: {why} uses no sampled negatives; leave the key out or set it to ~")
    return None if wanted is None else _checked_negatives(wanted)


def _checked_negatives(wanted: Mapping[str, Any]) -> dict[str, Any]:
    arguments = UNIFORM_NEGATIVES | dict(wanted)
    if arguments["distribution"] not in ("uniform", "popularity"):
        raise UserError(
            f"train_neg_sample_args: distribution must be uniform or popularity, not {arguments['distribution']!r}"
        )
    number = arguments["sample_num"]
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise UserError(f"train_neg_sample_args: sample_num must be an int in [1, inf), not {number!r}")
    return arguments


def _clip_arguments(value: float | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Arguments of ``torch.nn.utils.clip_grad_norm_``, as RecBole takes them; a number is the largest norm."""
    if value is None:
        return None
    arguments = dict(value) if isinstance(value, Mapping) else {"max_norm": value}
    for key in arguments:
        if key not in CLIP_ARGUMENTS:
            raise UserError(f"clip_grad_norm: unknown key {key!r}{did_you_mean(str(key), CLIP_ARGUMENTS)}")
    norm = arguments.get("max_norm")
    if not isinstance(norm, (int, float)) or isinstance(norm, bool) or not norm > 0:
        raise UserError(f"clip_grad_norm: max_norm must be a float in (0, inf), not {norm!r}; write clip_grad_norm: 5")
    return arguments
