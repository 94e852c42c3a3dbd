"""Checkpoints of tensors and plain data, with the item vocabulary: loading one runs no code and cannot mix up items.

The file is torch's zip format. Its per-record checksums are verified on loading, which torch itself does not do.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors

from recbole_tme.errors import UserError, first_line
from recbole_tme.runs.archive import verify_archive
from recbole_tme.utils.files import write_atomically

FORMAT = "recbole_tme checkpoint"
VERSION = 1
# What every checkpoint holds.
REQUIRED = {"model": str, "items": list, "state_dict": dict}
_ARRAY = "__numpy_array__"


def save_checkpoint(path: Path | str, payload: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: the file.
        payload: tensors, NumPy arrays and plain data, nested in dicts and lists. ``model`` (the model's name),
            ``items`` (external item id by internal id, the padding token first) and ``state_dict`` must be among it.

    Raises:
        UserError: the directory is read-only or the disk is full.
        TypeError: the payload holds something that is neither tensor nor plain data; names it.
        ValueError: ``model``, ``items`` or ``state_dict`` is missing.
    """
    missing = {"model", "items", "state_dict"} - payload.keys()
    if missing:
        raise ValueError(f"a checkpoint needs {', '.join(sorted(missing))}")
    content = {"format": FORMAT, "version": VERSION}
    content |= {key: plain_data(value, key) for key, value in payload.items()}
    content["items"] = [str(item) for item in payload["items"]]
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(Path(path), buffer.getvalue())


def load_checkpoint(
    path: Path | str,
    *,
    items: Sequence[str] | None = None,
    model: str | None = None,
    map_location: Any = "cpu",
) -> dict[str, Any]:
    """Read a checkpoint that :func:`save_checkpoint` wrote.

    Args:
        path: the file.
        items: the catalogue it must belong to, padding token first; None accepts any.
        model: the model it must be of; None accepts any.
        map_location: device of the tensors, as for ``torch.load``.

    Raises:
        UserError: the file is missing, empty, truncated, damaged or foreign, holds weights that are not finite, or
            belongs to another model or catalogue.
    """
    path = Path(path)
    verify_archive(path)
    content = _load(path, map_location)
    if not isinstance(content, dict) or not _is(content.get("format"), FORMAT):
        raise UserError(f"{path} is not a checkpoint of this program; train the model again to get one")
    if not _is(content.get("version"), VERSION):
        raise UserError(
            f"{path} has checkpoint version {content.get('version')}, this program reads {VERSION}; upgrade it"
        )
    with fitting(path):
        payload = {key: _restore(value) for key, value in content.items() if key not in ("format", "version")}
    missing = [key for key in REQUIRED if not isinstance(payload.get(key), REQUIRED[key])]
    if missing:
        raise UserError(f"{path} is damaged: {missing[0]} is missing or of another type; use another one")
    if model is not None and payload["model"] != model:
        raise UserError(
            f"{path} is a checkpoint of {payload['model']}, not of {model}; name that model or another file"
        )
    if items is not None:
        check_catalogue(payload["items"], items, path)
    for part in ("state_dict", "best_state"):
        with fitting(path):
            check_weights(payload.get(part) or {}, path)
    return payload


@contextmanager
def fitting(path: Path | str) -> Iterator[None]:
    """Turn what fails where a checkpoint's state is taken over into one line: the state is damaged or another's.

    Raises:
        UserError: the block raised what values of wrong types and shapes raise.
    """
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = first_line(error)
        raise UserError(f"{path} holds a state that does not fit ({reason}); use another checkpoint") from error


def check_catalogue(stored: Sequence[str], items: Sequence[str], path: Path | str) -> None:
    """Compare a checkpoint's items with a data set's.

    Args:
        stored, items: external item ids by internal id, of the checkpoint and of the data set.
        path: the checkpoint, for the message.

    Raises:
        UserError: they are not the same items in the same order.
    """
    stored, items = [str(item) for item in stored], [str(item) for item in items]
    if stored == items:
        return
    if not stored:
        raise UserError(f"{path} holds no item vocabulary, so it cannot be matched with the data set; train again")
    gone, new = len(set(stored) - set(items)), len(set(items) - set(stored))
    if gone or new:
        how = f"{gone} of its {len(stored) - 1} items are not in the data set and {new} of the data set's are new to it"
    elif len(stored) != len(items):
        how = f"it has {len(stored) - 1} items and the data set {len(items) - 1}, some of them twice"
    else:
        moved = sum(a != b for a, b in zip(stored, items))
        how = f"{moved} of its {len(stored) - 1} items have another number in the data set (same items, reordered)"
    raise UserError(f"{path} belongs to another catalogue: {how}; use the data it was trained on or train again")


def restore_model(model: Any, payload: Mapping[str, Any], path: Path | str) -> None:
    """Load a checkpoint's weights, and RecBole's ``other_parameter``, into a model.

    Args:
        model: a RecBole model.
        payload: as from :func:`load_checkpoint`.
        path: the checkpoint, for the message.

    Raises:
        UserError: the weights have other names or shapes than the model's.
    """
    own = model.state_dict()
    for name, value in payload["state_dict"].items():
        # torch would round, and say nothing.
        if name in own and value.is_floating_point() != own[name].is_floating_point():
            raise UserError(f"{path} does not fit the model ({name} is {value.dtype}, not {own[name].dtype})")
    try:
        model.load_state_dict(payload["state_dict"])
    except RuntimeError as error:
        reason = "; ".join(line.strip().rstrip(".") for line in str(error).splitlines()[1:3])
        raise UserError(f"{path} does not fit the model ({reason}); use the settings it was trained with") from error
    model.load_other_parameter(payload.get("other_parameter"))


def restore_optimizer(optimizer: torch.optim.Optimizer, payload: Mapping[str, Any], path: Path | str) -> None:
    """Load a checkpoint's optimizer state.

    Args:
        optimizer: the optimizer to continue with.
        payload: as from :func:`load_checkpoint`.
        path: the checkpoint, for the message.

    Raises:
        UserError: there is none, or it is of another kind of optimizer (torch loads Adam's state into SGD silently).
    """
    state = payload.get("optimizer")
    if not state:
        raise UserError(f"{path} holds no optimizer state, so training cannot continue from it; train again")
    stored, wanted = state["param_groups"], optimizer.state_dict()["param_groups"]
    if [group.keys() for group in stored] != [group.keys() for group in wanted]:
        raise UserError(f"{path} was trained with another learner; resume with the one it was trained with")
    try:
        optimizer.load_state_dict(state)
    except ValueError as error:
        raise UserError(f"{path} does not fit the model's optimizer ({error}); use the run's settings") from error


def write_weights(path: Path, model: torch.nn.Module) -> None:
    """Write a model's weights as a ``.safetensors`` file, whole or not at all.

    Modules that are part of a model twice are stored under both names, because each name is asked for on loading.

    Raises:
        UserError: the file cannot be written.
    """
    taken, weights = set(), {}
    for name, value in model.state_dict().items():
        value = value.contiguous()
        storage = value.untyped_storage().data_ptr()
        weights[name] = value.clone() if storage in taken else value
        taken.add(storage)
    write_atomically(path, to_safetensors(weights))


def read_weights(path: Path, device: str = "cpu") -> dict[str, torch.Tensor]:
    """The weights in a ``.safetensors`` file by name.

    Raises:
        UserError: the file is missing, damaged or something else, or holds weights that are not finite.
    """
    try:
        weights = load_file(path, device)
    except (OSError, SafetensorError) as error:
        reason = first_line(error)
        raise UserError(f"{path} holds no readable weights ({reason}); train the model again") from error
    check_weights(weights, path)
    return weights


def check_weights(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Refuse weights that are not finite.

    Args:
        tensors: weights by name.
        path: the file they come from, for the message.

    Raises:
        UserError: a tensor holds NaN or an infinity, and is no attention mask of zeros and minus infinities.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            finite = tensor[torch.isfinite(tensor)]
            # An additive attention mask kept as a buffer: zeros and minus infinities.
            if not tensor.isnan().any() and not tensor.isposinf().any() and not finite.any():
                continue
            bad = tensor.numel() - finite.numel()
            raise UserError(
                f"{path}: {bad} of {tensor.numel()} weights of {name} are not finite: the training diverged; "
                f"use an earlier checkpoint or train again with a lower learning_rate"
            )


def plain_data(value: Any, where: str) -> Any:
    """Copy nested data so that it holds tensors, str, numbers, None, lists and string- or number-keyed dicts only.

    Args:
        value: the data; NumPy arrays, NumPy numbers, paths, enums, devices and tuples are converted.
        where: its name, for the message.

    Raises:
        TypeError: something else is in it; names where.
    """
    if value is None or (isinstance(value, (bool, int, float, str)) and not isinstance(value, (np.generic, Enum))):
        return value
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return {_ARRAY: torch.from_numpy(np.ascontiguousarray(value))} if value.dtype.kind in "biuf" else value.tolist()
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, (Path, torch.device, torch.dtype)):
        return str(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, (str, int, float)):
                raise TypeError(f"{where} has a key of type {type(key).__name__}, which a checkpoint cannot hold")
        return {key: plain_data(element, f"{where}[{key!r}]") for key, element in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_data(element, f"{where}[{i}]") for i, element in enumerate(value)]
    raise TypeError(f"{where} is a {type(value).__name__}, which a checkpoint cannot hold")


def _restore(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_ARRAY}:
            return _restore(value[_ARRAY]).cpu().numpy()
        return {key: _restore(element) for key, element in value.items()}
    if isinstance(value, list):
        return [_restore(element) for element in value]
    # Its shape may promise any number of values of what is there once.
    if isinstance(value, torch.Tensor) and value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise ValueError(f"a tensor of shape {list(value.shape)} with {value.untyped_storage().nbytes()} bytes")
    return value


def _is(value: Any, wanted: str | int) -> bool:
    """Whether a value is one of plain data; a tensor's comparison is a tensor."""
    return type(value) is type(wanted) and value == wanted


def _load(path: Path, map_location: Any) -> Any:
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds pickled Python objects, which could run any code, so it is not loaded; "
            f"train again with recbole_tme imported to get a checkpoint of plain data"
        ) from error
    # A pickle is a program, which may go wrong in any way.
    except Exception as error:
        reason = first_line(error)
        raise UserError(f"{path} is not a checkpoint of this program ({reason}); use another one") from error
