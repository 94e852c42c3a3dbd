"""RecBole's own models: which it has, which of them can run on sessions, and where its files lie."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import warnings
from contextlib import suppress
from pathlib import Path

from recbole_tme.errors import UserError
from recbole_tme.utils.installing import recbole_missing

PACKAGE = "recbole.model.sequential_recommender"

_FEATURES = "it needs item features, and session data has none"
_KNOWLEDGE = "it needs knowledge graph embeddings, and session data has none"
_USERS = "it learns a vector per user, and every test session is a new user"
_LABELS = "it predicts the click on one labelled candidate, not a ranking of the catalogue"
REFUSED = {
    "FDSA": _FEATURES,
    "GRU4RecF": _FEATURES,
    "SASRecF": _FEATURES,
    "S3Rec": "it needs item features, a pre-training stage and a trainer of its own",
    "GRU4RecKG": _KNOWLEDGE,
    "KSR": _KNOWLEDGE,
    "DIN": _LABELS,
    "DIEN": _LABELS,
    "Caser": _USERS,
    "FOSSIL": _USERS,
    "FPMC": _USERS,
    "HGN": _USERS,
    "HRM": _USERS,
    "NPE": _USERS,
    "SHAN": _USERS,
    "TransRec": _USERS,
}

# Those whose scores, loss and gradients do not depend on how far a session is padded. STAMP's memory, for one, is a sum
# over padding too, whose vector is trained like an item's.
VARIABLE_LENGTH = ("GCSAN", "GRU4Rec", "NARM", "SASRec", "SRGNN")

# Those whose loss is nothing but cross entropy of `forward` times the item table, padding included.
PLAIN_SOFTMAX = ("GRU4Rec", "LightSANs", "NARM", "SASRec", "SRGNN", "STAMP")

# "Title." in VENUE 2019, as RecBole's modules cite their papers.
_PAPER = re.compile(r'"([^"]+?)\.?"[.,]?\s+in\s+([^.]*?\d{4})', re.IGNORECASE)


def is_builtin(model_class: type) -> bool:
    """Whether a model class is RecBole's own."""
    return model_class.__module__.startswith("recbole.")


def takes_any_width(model_class: type) -> bool:
    """Whether a class is one of :data:`VARIABLE_LENGTH`, the models that can be given narrow batches."""
    return is_builtin(model_class) and model_class.__name__ in VARIABLE_LENGTH


def has_plain_softmax(model_class: type) -> bool:
    """Whether a class is one of :data:`PLAIN_SOFTMAX`, with that loss where ``loss_type`` is CE."""
    return is_builtin(model_class) and model_class.__name__ in PLAIN_SOFTMAX


@functools.lru_cache(maxsize=1)
def root() -> Path:
    """RecBole's package directory, found without importing its modules.

    Raises:
        UserError: RecBole is not installed.
    """
    spec = None
    # Our own import hook says so by an error.
    with suppress(ModuleNotFoundError):
        spec = importlib.util.find_spec("recbole")
    if spec is None or spec.origin is None:
        raise UserError(recbole_missing())
    return Path(spec.origin).parent


@functools.lru_cache(maxsize=1)
def sequential_models() -> dict[str, str]:
    """RecBole's sequential models and the paper of each, read from the source files: importing them would import
    torch and all of RecBole."""
    models = {}
    for path in sorted((root() / "model" / "sequential_recommender").glob("*.py")):
        with warnings.catch_warnings():
            # Formulas in its docstrings have backslashes that Python 3.12 and later warn of.
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(path.read_text(encoding="utf-8"))
        paper = _PAPER.search(" ".join((ast.get_docstring(tree) or "").split()))
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name.lower() == path.stem:
                models[node.name] = f"{paper[1]} ({paper[2]})" if paper else first_line(ast.get_docstring(node))
    return models


def names() -> list[str]:
    """The names of all of RecBole's models, sequential or not."""
    return sorted(path.stem for path in (root() / "properties" / "model").glob("*.yaml"))


def first_line(doc: str | None) -> str:
    """What a docstring says before its first line ends; nothing where there is none."""
    return (doc or "").strip().partition("\n")[0].strip()
