"""A RecBole user's yaml as settings for ``run``, and what replaces the keys that do not apply here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_tme.config.declared import known_keys
from recbole_tme.config.ignored_keys import REPLACED
from recbole_tme.config.load import load_config
from recbole_tme.errors import UserError
from recbole_tme.models import registry
from recbole_tme.models.builtin import discovery
from recbole_tme.schema.keys import property_keys
from recbole_tme.schema.yamlfile import SettingsFile, flow_text, read_settings
from recbole_tme.utils.shapes import mismatch
from recbole_tme.utils.spelling import did_you_mean
from recbole_tme.utils.tabular import printable

# Names of columns and files, which recbole-tme prepare is told.
_NAMES = {
    "USER_ID_FIELD": "recbole-tme prepare --session=COLUMN",
    "ITEM_ID_FIELD": "recbole-tme prepare --item=COLUMN",
    "data_path": "recbole-tme prepare FOLDER writes to dataset_atomic, where run looks",
}
# RecBole's defaults of these are no part of what a run computes, or follow from the loss.
_NOT_TAKEN_OVER = ("gpu_id", "use_gpu", "data_path", "show_progress", "USER_ID_FIELD", "train_neg_sample_args")
_INTERVAL = re.compile(r"([\[(])\s*([^,\s]+)\s*,\s*([^,\s\])]+)\s*([\])])")


# Of the keys whose parts are read here.
_NOTHING = type(None)
_SHAPES = {
    "load_col": (_NOTHING, {str: (_NOTHING, [str])}),
    "val_interval": (_NOTHING, {str: (_NOTHING, str)}),
    "eval_args": (_NOTHING, str, {str: (_NOTHING, str, {str: (_NOTHING, str, float, list)})}),
}


@dataclass(frozen=True)
class Converted:
    """What became of a yaml.

    Attributes:
        text: our yaml.
        left_out: per key that does not apply, what replaces it.
        prepare: the command that makes the data set, or None where none is needed.
    """

    text: str
    left_out: dict[str, str]
    prepare: str | None


def convert(path: Path, model: str | None = None, dataset: str | None = None) -> Converted:
    """Turn a RecBole user's yaml into ours.

    RecBole's defaults that differ from ours are written down, so that a run means what it meant there.

    Args:
        path: the yaml.
        model: RecBole's name of the model; None where the yaml has it.
        dataset: RecBole's name of the data set; None where the yaml has it.

    Raises:
        UserError: the model or the data set is not named; ``eval_args`` or ``repeatable`` mean another protocol; a
            value is impossible. Names the line.
    """
    file = read_settings(path)
    for key, shape in _SHAPES.items():
        if key in file.values and (wrong := mismatch(file.values[key], shape, key)):
            raise UserError(f"{file.path}:{file.lines[key]}: {wrong}; write it as RecBole reads it")
    named = {"model": _named(file, "model", model), "dataset": _named(file, "dataset", dataset)}
    _refuse_another_protocol(file)
    if named["model"] in discovery.names():
        # A name that we have, too, was RecBole's.
        named["model"] = registry.BUILTIN_PREFIX + named["model"]
    model_class = registry.resolve(named["model"])
    known = known_keys(model_class)
    left_out, kept = {}, dict(named)
    for key in file.values:
        if key in REPLACED or key in _NAMES:
            left_out[key] = REPLACED.get(key) or _NAMES[key]
        elif key in known:
            kept[key] = file.values[key]
        elif key not in named:
            left_out[key] = f"nothing: {named['model']} has no such key{did_you_mean(key, known)}"
    if "checkpoint_dir" in file.values:
        kept["run_dir"] = file.values["checkpoint_dir"]
    defaults = {key: value for key, value in _defaults().items() if key not in kept}
    prepare: str | None = _prepare_command(file, named["dataset"])
    if named["dataset"] == "ml-100k":
        left_out["dataset"] = "ml100k-sessions: ml-100k is ratings, which are cut into sessions at pauses"
        kept["dataset"], prepare = "ml100k-sessions", None
    load_config(named["model"], "toy", [path], defaults, ignore=[*left_out, "model", "dataset"])
    # Names are the yaml's: a line's end in one would begin a line that is no comment.
    lines = [printable(f"# {path.name} as recbole-tme run --config_files takes it.")]
    lines += [printable(f"# First: {prepare}")] if prepare else []
    lines += [_line(key, value) for key, value in kept.items()]
    lines += ["", "# RecBole's defaults, where ours are others."] + [_line(k, v) for k, v in defaults.items()]
    if left_out:
        lines += ["", "# Left out, with what replaces it."]
        lines += [printable(f"# {key}: {what}") for key, what in left_out.items()]
    return Converted("\n".join([*lines, ""]), left_out, prepare)


def _named(file: SettingsFile, key: str, given: str | None) -> str:
    name = given or file.values.get(key)
    if not isinstance(name, str):
        raise UserError(f"{file.path} names no {key}; add --{key}=NAME, as RecBole was told it")
    return name


def _line(key: str, value: Any) -> str:
    quoted = isinstance(value, str) and not re.fullmatch(r"[A-Za-z_][\w./+@:-]*", value)
    return f"{key}: {flow_text([value])[1:-1] if quoted else '~' if value is None else flow_text(value)}"


def _defaults() -> dict[str, Any]:
    """RecBole's values of the keys whose defaults are others here."""
    theirs = property_keys(discovery.root() / "properties" / "overall.yaml", strict=False)
    ours = load_config("recbole:GRU4Rec", "toy").plain()
    changed = {
        key: one.default
        for key, one in theirs.items()
        if key in ours and key not in _NOT_TAKEN_OVER and ours[key] != one.default
    }
    return {**changed, "lr_schedule": "none"}


def _refuse_another_protocol(file: SettingsFile) -> None:
    """Refuse what would make figures that mean something else than ours.

    Raises:
        UserError: naming the line and what is different.
    """
    arguments = file.values.get("eval_args") or {}
    arguments = arguments if isinstance(arguments, Mapping) else {"mode": arguments}
    mode = arguments.get("mode", "full")
    other = [f"mode {one}" for one in (mode.values() if isinstance(mode, Mapping) else [mode]) if one != "full"]
    # RecBole does not split files that are split.
    if not file.values.get("benchmark_filename") and arguments.get("split"):
        other.append(f"split {flow_text(arguments['split'])}")
    if not file.values.get("benchmark_filename") and arguments.get("order") == "RO":
        other.append("order RO")
    if other:
        raise UserError(
            f"{file.path}:{file.lines['eval_args']}: eval_args ({', '.join(other)}) means another protocol: here "
            "recbole-tme prepare splits sessions by time and every target is ranked in the whole catalogue, so that "
            "figures cannot be compared; take eval_args out to convert the rest"
        )
    if file.values.get("repeatable") is False:
        raise UserError(
            f"{file.path}:{file.lines['repeatable']}: repeatable: False means another protocol: here the session's own "
            "items are ranked, too; take it out to convert the rest"
        )


def _prepare_command(file: SettingsFile, dataset: str) -> str:
    """The command that makes the data set that a yaml reads."""
    values = file.values
    folder = Path(str(values.get("data_path", "dataset"))) / dataset
    columns = [column for part in (values.get("load_col") or {}).values() for column in part or []]
    words = ["recbole-tme", "prepare"]
    words.append(str(folder if values.get("benchmark_filename") else folder / f"{dataset}.inter"))
    words += ["--name", dataset]
    if "item_id_list" not in columns:
        words += ["--session", str(values.get("USER_ID_FIELD", "user_id"))]
        words += ["--item", str(values.get("ITEM_ID_FIELD", "item_id"))]
        words += ["--time", str(values.get("TIME_FIELD", "timestamp"))]
    if values.get("field_separator", "\t") != "\t":
        words += ["--delimiter", str(values["field_separator"])]
    if not values.get("benchmark_filename"):
        words += ["--min-support", str(max(1, _least(values.get("item_inter_num_interval"))))]
        words += ["--min-length", str(max(2, _least(values.get("user_inter_num_interval"))))]
        words += _conditions(values.get("val_interval") or {})
    return shlex.join(words)


def _least(interval: str | None) -> int:
    """The smallest whole number in one of RecBole's intervals; 0 where there is none."""
    found = _INTERVAL.fullmatch(str(interval).strip())
    return int(found[2]) + (found[1] == "(") if found and re.fullmatch(r"[0-9]{1,9}", found[2]) else 0


def _conditions(intervals: Mapping[str, str]) -> list[str]:
    """RecBole's intervals of values as a condition on rows."""
    said = []
    for column, text in intervals.items():
        found = _INTERVAL.fullmatch(str(text).strip())
        if found is None:
            continue
        left, low, high, right = found.groups()
        said += [] if "inf" in low else [f"{column} {'>=' if left == '[' else '>'} {low}"]
        said += [] if "inf" in high else [f"{column} {'<=' if right == ']' else '<'} {high}"]
    return ["--where", " and ".join(said)] if said else []
