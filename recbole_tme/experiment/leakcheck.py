"""``recbole-tme leakcheck``: do the scores of a test instance depend on anything but its session's clicks?

The test instances of this field are the prefixes of a few sessions, so a batch holds, beside a prefix, longer ones of
the same session, and with them its target. A model that looks for similar sessions within the batch reads the answer;
so does one that keeps what it has scored, looks at the target column, or reads the data set's files by itself.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_tme.config.load import SessionConfig
from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.locate import locate
from recbole_tme.data.prefixes import FieldNames
from recbole_tme.data.sessions import SessionData, Sessions
from recbole_tme.errors import PluginError, UserError
from recbole_tme.evaluation.metrics import METRICS
from recbole_tme.evaluation.ranks import SCORES_AT_ONCE, scorer, target_ranks
from recbole_tme.experiment.filewatch import CLICK_FILES, watched_files
from recbole_tme.experiment.leakprobes import TOLERANCE, VARIATIONS, Subject, largest_moves, named_leak, probe
from recbole_tme.experiment.loading import Loaders, build_model
from recbole_tme.utils import tabular
from recbole_tme.utils.randomness import replaying, rng_state

K = 20
HIDDEN = "built without the test sessions"


@dataclass
class Findings:
    """What :func:`check_leaks` found.

    Attributes:
        moved: by variation, the largest change of any item's score of each instance, see
            :func:`~recbole_tme.experiment.leakprobes.largest_moves`, float64 ``[n]``.
        rank_in_batch, rank_alone: the target's rank among its batch mates' sessions and alone, float64 ``[n]``.
        hidden: moves of some instances' scores if the model is built where there is no test session, float64 ``[m]``;
            inf for all if it cannot be built there.
        files: files of clicks that the model opened.
        draws: scoring draws random numbers.
    """

    moved: dict[str, np.ndarray] = field(default_factory=dict)
    rank_in_batch: np.ndarray = field(default_factory=lambda: np.empty(0))
    rank_alone: np.ndarray = field(default_factory=lambda: np.empty(0))
    hidden: np.ndarray = field(default_factory=lambda: np.empty(0))
    files: list[str] = field(default_factory=list)
    draws: bool = False

    def share(self, variation: str) -> float:
        """Share of instances with a score that moves beyond rounding."""
        return float((self.moved[variation] > TOLERANCE).mean())

    @property
    def leak(self) -> str | None:
        """What the model does that it must not, in words; None where nothing was found."""
        if self.files:
            return f"it reads the data set's files itself ({', '.join(Path(name).name for name in self.files)})"
        if not self.draws and (self.hidden > TOLERANCE).any():
            return "it knows the test sessions since it was built"
        return named_leak({name: self.share(name) for name in self.moved}, self.draws)

    @property
    def leaks(self) -> bool:
        return self.leak is not None


@torch.no_grad()
def check_leaks(
    model: nn.Module, loaders: Loaders, config: SessionConfig, data: SessionData, instances: int = 2048
) -> Findings:
    """Score test instances in batches, and again as in each of ``VARIATIONS``; build the model without them as well.

    Batches are runs of neighbouring instances in the data set's order, spread over it, so that the prefixes of a
    session stand together as they do in RecBole's evaluation.

    Args:
        model: any RecBole sequential model, in evaluation mode.
        loaders: of its training, validation and test instances.
        config: its ``eval_batch_size`` and ``MAX_ITEM_LIST_LENGTH`` hold here too.
        data: the sessions that the loaders are of.
        instances: how many to score, at most.

    Raises:
        ValueError: the model scores another number of items than the data set has.
        NonFiniteScores: a score is NaN.
        UserError: the model cannot be built.
    """
    names, test = FieldNames.of(config), loaders[2].dataset
    size = max(1, min(config["eval_batch_size"], SCORES_AT_ONCE // test.item_num))
    batches = [
        loaders[2].transform(test, test[rows]).to(config["device"])
        for rows in _spread_batches(len(test), instances, size)
    ]
    train_ids = loaders[0].dataset.inter_feat[names.session]
    folder = _folder(config)
    with watched_files() as files:
        # What a model prepares at its first score is then part of every copy.
        warm = loaders[0].dataset[torch.zeros(1, dtype=torch.long)].to(config["device"])
        scorer(model, test, config["device"])(warm)
        subject = Subject(
            copies_of(model, lambda: build_model(config, data)[0]),
            lambda one, batch: scorer(one, test, config["device"])(batch),
            names,
            test.item_num - 1,
            train_ids,
            config["MAX_ITEM_LIST_LENGTH"],
            test.padding == "batch",
        )
        found = _probe_all(subject, batches)
        found.hidden = _without_test(config, data, batches[:2], test, folder)
    found.files = files
    return found


def _probe_all(subject: Subject, batches: list[Interaction]) -> Findings:
    moved: dict[str, list[Any]] = {name: [] for name in VARIATIONS}
    ranks = []
    before = rng_state()
    for batch in batches:
        moves, scores, alone = probe(subject, batch)
        for name, values in moves.items():
            moved[name].append(values)
        target = batch[subject.names.item]
        ranks.append(torch.stack([_mean_rank(given, target) for given in (scores, alone)]))
    in_batch, by_itself = torch.cat(ranks, dim=1).cpu().numpy()
    return Findings(
        {name: torch.cat(parts).cpu().numpy() for name, parts in moved.items()},
        in_batch,
        by_itself,
        draws=not _same_state(before, rng_state()),
    )


def copies_of(model: nn.Module, build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """A function that gives a new copy of a model, in evaluation mode.

    Args:
        model: the model.
        build: makes a new model of this kind, for those that cannot be copied (an open file, a lock).
    """

    def fresh() -> nn.Module:
        try:
            return copy.deepcopy(model).eval()
        except (TypeError, RuntimeError, AttributeError):
            with replaying(rng_state()):
                other = build()
            other.load_state_dict(model.state_dict())
            return other.eval()

    return fresh


def _without_test(
    config: SessionConfig, data: SessionData, batches: list[Interaction], test: SessionDataset, folder: Path | None
) -> np.ndarray:
    """How far an untrained model's scores move if validation and test sessions held other items, and no file of
    clicks were where the configuration says, while it was built."""
    score = scorer(build_model(config, data)[0].eval(), test, config["device"])
    with tempfile.TemporaryDirectory() as root:
        elsewhere = copy.deepcopy(config)
        elsewhere["data_path"] = root
        _link_other_files(folder, Path(root) / config["dataset"])
        hidden = replace(
            data, test=_other_items(data.test, data), valid=_other_items(data.valid, data), whole_test=None
        )
        try:
            score_hidden = scorer(build_model(elsewhere, hidden)[0].eval(), test, config["device"])
            moves = [largest_moves(score(batch), score_hidden(batch)) for batch in batches]
        except (OSError, PluginError) as error:
            if isinstance(error, PluginError) and not isinstance(error.__cause__, OSError):
                raise
            moves = [torch.full((len(batch),), torch.inf) for batch in batches]
    return torch.cat(moves).cpu().numpy()


def _folder(config: SessionConfig) -> Path | None:
    """Where the data set's files are; None where the sessions did not come from files."""
    try:
        return locate(config["dataset"], config["data_path"], offline=True)
    except UserError:
        return None


def _link_other_files(source: Path | None, folder: Path) -> None:
    """Everything of the data set's folder but its clicks, for models that read the items' texts or vectors."""
    folder.mkdir()
    for file in [] if source is None else source.iterdir():
        if not file.name.endswith(CLICK_FILES):
            (folder / file.name).symlink_to(file.resolve())


def _other_items(sessions: Sessions | None, data: SessionData) -> Sessions | None:
    if sessions is None:
        return None
    n_items = len(data.tokens) - 1
    return replace(sessions, items=((sessions.items - 1 + max(1, n_items // 2)) % n_items + 1).astype(np.int32))


def _same_state(first: dict, second: dict) -> bool:
    """Whether the generators stand where they stood."""
    return repr(_plain(first)) == repr(_plain(second))


def _plain(state):
    if isinstance(state, Tensor | np.ndarray):
        return bytes(np.asarray(state.cpu() if isinstance(state, Tensor) else state))
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [_plain(value) for value in state]
    return state


def report(found: Findings, config: SessionConfig) -> str:
    """The findings in words and as a table."""
    n = len(found.rank_alone)
    rows = []
    for name, moves in found.moved.items():
        rows.append([VARIATIONS[name], f"{100 * found.share(name):.2f} %", f"{moves.max():.1e}"])
    rows.append([HIDDEN, f"{100 * (found.hidden > TOLERANCE).mean():.2f} %", f"{found.hidden.max():.1e}"])
    dataset = tabular.printable(config["dataset"])
    lines = [
        f"{config.registered_name} on {dataset}: {n:,} test instances, tolerance {TOLERANCE:g}",
        tabular.aligned(["compared with the batch as it is", "instances moved", "largest move"], rows),
        f"P@20 / MRR@20 of these instances in batches {_shown(found.rank_in_batch)}, alone {_shown(found.rank_alone)}",
        f"LEAKS: {found.leak}" if found.leaks else "no leak found",
    ]
    return "\n".join(lines)


def _shown(rank: np.ndarray) -> str:
    return " / ".join(f"{100 * METRICS[name](rank, K).mean():.2f}" for name in ("hit", "mrr"))


def _spread_batches(n: int, instances: int, size: int) -> Iterator[Tensor]:
    """Runs of at most ``size`` neighbouring rows, evenly spread over ``n``, about ``instances`` in all."""
    size = min(size, instances, n)
    count = max(1, round(min(instances, n) / size))
    for start in np.linspace(0, n - size, count).astype(int):
        yield torch.arange(start, start + size)


def _mean_rank(scores: Tensor, target: Tensor) -> Tensor:
    better, tied = target_ranks(scores, target)
    return 1 + better.double() + tied.double() / 2
