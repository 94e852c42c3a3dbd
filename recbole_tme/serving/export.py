"""``recbole-tme export``: a trained model as one file that runs without this package, in PyTorch or ONNX Runtime.

The graph maps padded item indices ``items`` ``[B, L]`` and ``lengths`` ``[B]``, both int64, to ``scores`` ``[B, N]``,
float32, for any B and any L up to the longest session the model takes. An item's index is its place in the item list,
counted from 1; 0 pads on the right; column j of the scores is item j + 1. The item list lies in the file:

* torch: ``torch.export.load(file, extra_files=extra)`` with ``extra = {"catalogue.json": ""}`` fills it in;
* onnx: ``InferenceSession(file).get_modelmeta().custom_metadata_map["catalogue.json"]``.

It is JSON with ``items`` (external ids), ``model`` and ``max_length`` (the longest L).
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_tme.errors import UserError, first_line
from recbole_tme.models.base import SessionRecommender
from recbole_tme.models.builtin.discovery import is_builtin
from recbole_tme.models.registry import innermost
from recbole_tme.models.training_free.base import TrainingFree
from recbole_tme.serving.saved import SavedModel, build_model
from recbole_tme.utils import terminal
from recbole_tme.utils.files import write_atomically, writing
from recbole_tme.utils.installing import install_extra

METADATA = "catalogue.json"
# A file of Protocol Buffers can be no larger.
LARGEST_ONNX = 2**31
BATCHES = (1, 3, 32)
# Of the largest score: an export that is further off has gone wrong.
TOLERANCE = 1e-3

Scorer = Callable[[Tensor, Tensor], Tensor]


def export(saved: SavedModel, out: Path, form: str) -> float:
    """Write a model as one file, whole or not at all.

    Args:
        saved: the model.
        out: the file to make.
        form: "torch" or "onnx".

    Returns:
        The largest difference of the file's scores from the model's on random sessions.

    Raises:
        UserError: the model or one of its options cannot be exported, the format's packages are not installed, or
            ``out`` exists or cannot be written.
    """
    if out.exists():
        raise UserError(f"{out} exists already; name another file for --out")
    if form == "torch" and out.suffix != ".pt2":
        raise UserError(f"--out={out}: torch.export.load wants a file called *.pt2; call it {out.stem}.pt2")
    if form == "onnx":
        _check_onnx(saved)
    model = build_model(saved, torch.device("cpu"))
    if isinstance(model, TrainingFree):
        raise UserError(
            f"model {saved.name} cannot be exported: it counts clicks and is no network; recbole-tme bundle packs it"
        )
    if isinstance(model, SessionRecommender) and model.looks_up:
        raise UserError(
            f"model {saved.name} cannot be exported: {model.looks_up}, which is no computation with tensors of fixed "
            f"shapes; recbole-tme bundle packs it"
        )
    most = saved.settings["MAX_ITEM_LIST_LENGTH"]
    # Some of RecBole's models take any width in a run, but a GRU's trace does not.
    one_width = saved.settings["padding"] == "max" or is_builtin(innermost(type(model)))
    width = most if one_width else None
    with terminal.step("tracing the model"):
        program = _traced(saved, width)
    metadata = json.dumps({"model": saved.name, "max_length": most, "items": saved.items.ids}, ensure_ascii=False)
    write, read = (_torch_file, _read_torch) if form == "torch" else (_onnx_file, _read_onnx)
    with terminal.step(f"making the {form} file"):
        content = write(program, metadata)
    with terminal.step("comparing its scores with the model's"):
        difference = _largest_difference(CatalogueScores(model, width), read(content), len(saved.items.ids), most)
    if difference is None:
        raise UserError(f"model {saved.name} cannot be exported: the file's scores are not the model's")
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, content)
    return difference


class CatalogueScores(nn.Module):
    """A model as a function of tensors.

    Args:
        model: any sequential model.
        width: the only width of ``items`` it takes, to which they are padded; None for any.

    Shapes:
        items ``[B, L]`` long, lengths ``[B]`` long -> ``[B, N]``, without the padding's column.
    """

    def __init__(self, model: nn.Module, width: int | None):
        super().__init__()
        self.model = model
        self.width = width

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        model = self.model
        if self.width is not None:
            items = F.pad(items, (0, self.width - items.shape[1]))
        # Whose session it is: nobody's of training.
        fields = {model.ITEM_SEQ: items, model.ITEM_SEQ_LEN: lengths, model.USER_ID: torch.zeros_like(lengths)}
        # Not an Interaction, whose length is a number that tracing would take for a constant.
        scores = model.full_sort_predict(fields)
        return scores.view(items.shape[0], -1)[:, 1:]


def _traced(saved: SavedModel, width: int | None) -> torch.export.ExportedProgram:
    """The graph of a model of its own, which tracing may change.

    Raises:
        UserError: it computes with something else than tensors, or its shapes depend on what they hold.
    """
    model = build_model(saved, torch.device("cpu")).requires_grad_(False)
    if isinstance(model, SessionRecommender):
        model.freeze()
    most = saved.settings["MAX_ITEM_LIST_LENGTH"]
    # An example of width 1 would make the width a constant, and so would a range of a single width from 2 on.
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", min=1, max=max(most, 3))
    items, lengths = _random_sessions(torch.Generator().manual_seed(0), 2, 3, len(saved.items.ids))
    shapes = {"items": {0: batch, 1: length}, "lengths": {0: batch}}
    try:
        with _quiet(), torch.no_grad():
            return torch.export.export(CatalogueScores(model, width).eval(), (items, lengths), dynamic_shapes=shapes)
    # Tracing runs the model's own code with stand-ins for tensors, which may raise anything.
    except Exception as error:
        raise UserError(
            f"model {saved.name} cannot be exported: tracing it failed ({first_line(error).rstrip('.')}); "
            "recbole-tme bundle packs any model"
        ) from error


def _torch_file(program: torch.export.ExportedProgram, metadata: str) -> bytes:
    content = io.BytesIO()
    with _quiet():
        torch.export.save(program, content, extra_files={METADATA: metadata})
    return content.getvalue()


def _read_torch(content: bytes) -> Scorer:
    return torch.export.load(io.BytesIO(content)).module()


def _check_onnx(saved: SavedModel) -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"--format=onnx needs {error.name}, which is not installed; run: {install_extra('onnx')}"
        ) from error
    size = sum(tensor.numel() * tensor.element_size() for tensor in saved.weights.values())
    if size >= LARGEST_ONNX:
        raise UserError(f"model {saved.name} has {size / 1e9:.1f} GB of weights, an ONNX file 2 at most; "
                        f"use --format=torch")  # fmt: skip


def _onnx_file(program: torch.export.ExportedProgram, metadata: str) -> bytes:
    try:
        with _quiet():
            proto = torch.onnx.export(program, dynamo=True, output_names=["scores"]).model_proto
    # Whatever the translation of a graph raises.
    except Exception as error:
        raise UserError(
            f"--format=onnx: the graph has no translation ({first_line(error).rstrip('.')}); use --format=torch"
        ) from error
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA, metadata
    return proto.SerializeToString()


def _read_onnx(content: bytes) -> Scorer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def scores(items: Tensor, lengths: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"items": items.numpy(), "lengths": lengths.numpy()})[0])

    return scores


def _largest_difference(original: CatalogueScores, exported: Scorer, n_items: int, most: int) -> float | None:
    """Of the two's scores on random sessions of many shapes; None where they are not the same up to rounding."""
    generator, largest = torch.Generator().manual_seed(1), 0.0
    for batch, length in itertools.product(BATCHES, sorted({1, 2, (most + 1) // 2, most})):
        sessions = _random_sessions(generator, batch, min(length, most), n_items)
        with torch.no_grad():
            wanted, found = original(*sessions), exported(*sessions)
        if wanted.shape != found.shape:
            return None
        difference = torch.where(wanted == found, 0.0, (wanted - found).abs()).max().item()
        scale = torch.where(wanted.isfinite(), wanted.abs(), 0.0).max().item()
        # Written so that NaN is refused too.
        if not difference <= TOLERANCE * max(scale, 1e-6):
            return None
        largest = max(largest, difference)
    return largest


def _random_sessions(generator: torch.Generator, batch: int, length: int, n_items: int) -> tuple[Tensor, Tensor]:
    """Right-padded sessions of random items and lengths, the first as long as there is room for."""
    lengths = torch.randint(1, length + 1, (batch,), generator=generator)
    lengths[0] = length
    items = torch.randint(1, n_items + 1, (batch, length), generator=generator)
    return items * (torch.arange(length) < lengths.unsqueeze(1)), lengths


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what PyTorch's exporters have to say of their own code, the graphs they print included."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
