"""The models that a server answers with: loaded, chosen for a request, and replaced while it runs."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recbole_tme import __version__
from recbole_tme.errors import UserError, in_one_line
from recbole_tme.models.training_free.base import TrainingFree
from recbole_tme.serving.about_run import FACTS_SHAPE, read_examples, run_facts
from recbole_tme.serving.bundle import MANIFEST, is_bundle, read_manifest
from recbole_tme.serving.recommender import Recommender
from recbole_tme.serving.server.catalogue import Catalogue

logger = logging.getLogger(__name__)

MAX_K = 1000
# What is watched of a run directory or a bundle.
WATCHED = (MANIFEST, "metrics.json", "model.safetensors", "catalogue.json")


class Loaded(NamedTuple):
    """A model that answers.

    Attributes:
        recommender: the model.
        catalogue: its items to look through.
        card: what ``GET /model`` tells.
        since: when it was loaded, in seconds since 1970.
        examples: what ``GET /examples`` tells.
    """

    recommender: Recommender
    catalogue: Catalogue
    card: dict[str, Any]
    since: float
    examples: list[dict[str, Any]]


class Served:
    """One model of a server under its name; :meth:`reload` replaces it by what lies in its folder now.

    Args:
        name: what requests call it.
        path: its run directory or bundle, or a link to one.
        load: makes a recommender of a folder.
        beside: further files that are watched.

    Attributes:
        now: the model that answers; whoever has read it may go on using it after it was replaced.
        error: why the latest reload failed, in one line; None where it did not.

    Raises:
        UserError: as ``load``.
    """

    def __init__(self, name: str, path: Path, load: Callable[[Path], Recommender], beside: Sequence[Path] = ()):
        self.name, self.path, self._load = name, path, load
        self._files = [*(path / file for file in WATCHED), *beside]
        self.error: str | None = None
        self._stamp = self._read_stamp()
        self._one_at_a_time = threading.Lock()
        self.now = self._loaded()

    def reload(self) -> bool:
        """Reload the model; where that fails the old one stays, and ``error`` and the log say why.

        Returns:
            Whether it was replaced.
        """
        with self._one_at_a_time:
            self._stamp = self._read_stamp()
            try:
                self.now, self.error = self._loaded(), None
            # A damaged file may raise anything, and the old model answers on whatever it was.
            except Exception as error:
                self.error = in_one_line(error)
                logger.error("model %s was not reloaded: %s; the old one stays", self.name, self.error)
        return self.error is None

    def has_changed(self) -> bool:
        """Whether its files are others than at the last time they were read."""
        return self._read_stamp() != self._stamp

    def _loaded(self) -> Loaded:
        recommender = self._load(self.path)
        card, examples = model_card(recommender, self.path), read_examples(self.path, recommender)
        return Loaded(recommender, Catalogue(recommender), card, time.time(), examples)

    def _read_stamp(self) -> list[tuple]:
        stamps = []
        for file in self._files:
            try:
                status = file.stat()
                stamps.append((file, status.st_ino, status.st_size, status.st_mtime_ns))
            except OSError:
                stamps.append((file,))
        return stamps


class Models:
    """The models of a server by name.

    Args:
        served: the models; the first one answers requests that choose none.
        split: share of the session keys that each of some models answers; adds up to 1.
        shadow: name of a model that is asked too and whose answers are only counted.

    Raises:
        UserError: a name is there twice, or ``split`` or ``shadow`` name an unknown model or do not add up.
    """

    def __init__(self, served: Sequence[Served], split: Mapping[str, float] | None = None, shadow: str | None = None):
        self.by_name = {one.name: one for one in served}
        if len(self.by_name) < len(served):
            names = [one.name for one in served]
            twice = next(name for name in names if names.count(name) > 1)
            raise UserError(f"--model: two models are called {twice!r}; give each a name of its own")
        self.default = served[0]
        for option, names in (("--split", split or {}), ("--shadow", [] if shadow is None else [shadow])):
            for name in names:
                self._known(option, name)
        self.shadow = None if shadow is None else self.by_name[shadow]
        self._bounds: list[tuple[float, Served]] = []
        if split:
            if min(split.values()) < 0 or abs(sum(split.values()) - 1) > 1e-6:
                raise UserError(f"--split: the shares must be 0 or more and add up to 1, not {sum(split.values()):g}")
            reached = 0.0
            for name, share in split.items():
                reached += share
                self._bounds.append((reached, self.by_name[name]))

    def _known(self, option: str, name: str) -> None:
        if name not in self.by_name:
            raise UserError(f"{option}: there is no model {name!r}; there are {', '.join(self.by_name)}")

    def choose(self, name: str | None, key: str | None) -> Served:
        """Who answers a request.

        Args:
            name: the model it asks for.
            key: the session's or the visitor's; the same key gets the same model as long as the shares stay.

        Raises:
            KeyError: there is no model of this name.
        """
        if name is not None:
            return self.by_name[name]
        if key is None or not self._bounds:
            return self.default
        place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
        return next((served for bound, served in self._bounds if place < bound), self._bounds[-1][1])


def model_card(recommender: Recommender, path: Path) -> dict[str, Any]:
    """What ``GET /model`` tells: results, date and sizes are those of the run; None where a bundle was made of none."""
    facts = read_manifest(path / MANIFEST).get("about") if is_bundle(path) else run_facts(path)
    return {
        "model": recommender.name,
        "dataset": recommender.settings["dataset"],
        "items": len(recommender.items),
        "seed": recommender.settings["seed"],
        **(facts or dict.fromkeys(FACTS_SHAPE)),
        "scores": "weights" if isinstance(recommender.model, TrainingFree) else "logits",
        "version": __version__,
    }


def largest_k(recommender: Recommender) -> int:
    """How many recommendations a session may ask for."""
    return min(MAX_K, len(recommender.items))
