"""Vectors of texts by an encoder in a local folder, in the form of transformers or of sentence-transformers.

Nothing is looked for on the network, and no code that lies in the folder is run. Of sentence-transformers' folders the
pooling is followed (mean of the tokens, first token, or maximum); one with further layers is refused, as its vectors
would be others than its makers meant.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recbole_tme.errors import UserError, first_line
from recbole_tme.utils.installing import install_extra
from recbole_tme.utils.unit import unit_rows

BATCH = 64
NO_LIMIT = 10**6
# sentence-transformers' names of the layers that are understood.
_TRANSFORMER, _POOLING, _NORMALIZE = "Transformer", "Pooling", "Normalize"
_MODES = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max"}


class _Layout(NamedTuple):
    """Where the network of a folder is, how its tokens become one vector, and the most tokens it reads; None if any."""

    network: Path
    pooling: str
    most: int | None


def encoded(folder: Path, texts: Sequence[str]) -> np.ndarray:
    """The encoder's vectors of texts, rows of length 1, zeros for an empty text, ``[len(texts), m]``.

    Args:
        folder: of the encoder.
        texts: may be empty; equal ones are encoded once.

    Raises:
        UserError: there is no such folder, it is no encoder, or transformers is not installed.
    """
    layout = _layout(folder)
    tokenizer, network = _loaded(folder, layout)
    # A tokenizer that has no limit says a number without meaning.
    limits = [most for most in (layout.most, tokenizer.model_max_length) if most is not None and most < NO_LIMIT]
    layout = layout._replace(most=min(limits, default=None))
    distinct = list(dict.fromkeys(text for text in texts if text.strip()))
    made = np.zeros((len(distinct) + 1, int(network.config.hidden_size)))
    # Texts of like length together, so that little is padded.
    order = sorted(range(len(distinct)), key=lambda place: len(distinct[place]))
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        made[places] = _vectors(tokenizer, network, [distinct[place] for place in places], layout)
    if not np.isfinite(made).all():
        raise UserError(f"item_encoder={folder}: gives vectors that are not finite; use another encoder")
    number = {text: place for place, text in enumerate(distinct)}
    return unit_rows(made[[number.get(text, len(distinct)) for text in texts]])


def _vectors(tokenizer: Any, network: Any, texts: list[str], layout: _Layout) -> np.ndarray:
    """Vectors of a batch of texts, ``[len(texts), m]``."""
    import torch

    cut = {} if layout.most is None else {"max_length": layout.most}
    fields = tokenizer(texts, padding=True, truncation=layout.most is not None, return_tensors="pt", **cut)
    with torch.inference_mode():
        states = network(**fields).last_hidden_state
        there = fields["attention_mask"].unsqueeze(2).bool()
        if layout.pooling == "cls":
            pooled = states[:, 0]
        elif layout.pooling == "max":
            pooled = states.masked_fill(~there, -torch.inf).amax(1)
        else:
            pooled = (states * there).sum(1) / there.sum(1)
    found: np.ndarray = pooled.double().numpy()
    return found


def _loaded(folder: Path, layout: _Layout) -> tuple[Any, Any]:
    """Tokenizer and network, on the CPU."""
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError as error:
        raise UserError(
            f"item_encoder needs transformers, which is not installed; run: {install_extra('encode')}"
        ) from error
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(layout.network, **options)
        network = AutoModel.from_pretrained(layout.network, **options).eval()
    # What a folder of anything makes the library raise is its own affair.
    except Exception as error:
        reason = first_line(error)
        raise UserError(f"item_encoder={folder}: no encoder that can be loaded ({reason})") from error
    return tokenizer, network


def _layout(folder: Path) -> _Layout:
    if not folder.is_dir():
        raise UserError(
            f"item_encoder={folder}: there is no such folder; name that of an encoder on this machine (nothing is "
            "downloaded)"
        )
    if not (folder / "modules.json").is_file():
        return _Layout(folder, "mean", _most_tokens(folder))
    layers = {str(layer["type"]).rpartition(".")[2]: folder / layer["path"] for layer in _json(folder / "modules.json")}
    others = sorted(set(layers) - {_TRANSFORMER, _POOLING, _NORMALIZE})
    if others or _TRANSFORMER not in layers:
        raise UserError(
            f"item_encoder={folder}: has a layer {others[0] if others else 'other than Transformer'}, which is not "
            "understood; encode the texts elsewhere and name their file (--item_vectors)"
        )
    pooling = "mean"
    if _POOLING in layers:
        about = _json(layers[_POOLING] / "config.json")
        modes = [name for name, on in about.items() if name.startswith("pooling_mode_") and on is True]
        if len(modes) != 1 or modes[0] not in _MODES:
            raise UserError(
                f"item_encoder={folder}: pools by {' and '.join(modes) or 'nothing'}, which is not understood; encode "
                "the texts elsewhere and name their file (--item_vectors)"
            )
        pooling = _MODES[modes[0]]
    said = folder / "sentence_bert_config.json"
    most = _json(said).get("max_seq_length") if said.is_file() else None
    return _Layout(layers[_TRANSFORMER], pooling, most or _most_tokens(layers[_TRANSFORMER]))


def _most_tokens(folder: Path) -> int | None:
    """How many tokens a network has positions for; None where it does not say."""
    config = folder / "config.json"
    if not config.is_file():
        raise UserError(f"item_encoder={folder}: has no config.json; name the folder of an encoder")
    most = _json(config).get("max_position_embeddings")
    return most if isinstance(most, int) else None


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: is not readable ({error}); use another copy of the encoder") from error
