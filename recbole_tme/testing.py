"""Common tests every session model must pass: ``check_model(MyModel)``, for our models and for anyone's.

Each check is a public function of its own, so that a failing one can be run alone, and raises ``AssertionError``
with one line that says what is wrong.
"""

from __future__ import annotations

import copy
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.utils import init_seed

from recbole_tme.config.construct import construct
from recbole_tme.config.load import load_config
from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.loader import build_loaders
from recbole_tme.data.readers.atomic import write_dataset
from recbole_tme.data.sessions import PAD_TOKEN, SessionData, Sessions
from recbole_tme.data.synthetic import toy
from recbole_tme.evaluation.metrics import evaluate
from recbole_tme.evaluation.ranks import rank_all
from recbole_tme.experiment import leakcheck
from recbole_tme.experiment.loading import build_model
from recbole_tme.nn.row_optim import RowAdam

# One more than this is prime and no model's layer size, which is how per-item parameters are told from others.
N_ITEMS = 40
MAX_CLICKS = 12
TOLERANCE = 1e-5
TOY_TARGET = 0.95
TOY_BATCH = 64


def check_model(
    model: type | str, settings: Mapping[str, Any] | None = None, fixed_width: bool = False, learns: bool = True
) -> None:
    """Run every common test on a model.

    Args:
        model: a subclass of RecBole's ``SequentialRecommender``, or a name such as ``"recbole:SRGNN"``.
        settings: configuration keys that differ from the model's defaults.
        fixed_width: the model needs sessions padded to ``MAX_ITEM_LIST_LENGTH``; leaves out the padding check.
        learns: also train it on the toy data, the slowest of the checks (seconds).

    Raises:
        AssertionError: a check fails; the message names the check and the figure.
        PluginError: the model cannot be constructed, or reads a key that nothing declares; names its file and line.
    """
    bench = Workbench(model, settings)
    # First, because it wants a model that has scored nothing.
    check_leaks(bench)
    check_shapes(bench)
    check_batch_mates(bench)
    if not fixed_width:
        check_padding(bench)
    check_relabelling(bench)
    check_extreme_sessions(bench)
    check_gradients(bench)
    check_prediction_is_deterministic(bench)
    check_state_round_trip(bench)
    if learns:
        check_learns_toy(bench)


class Workbench:
    """A model under test and what the checks need around it.

    Args:
        model: class or name.
        settings: configuration keys that differ from the model's defaults.
    """

    def __init__(self, model: type | str, settings: Mapping[str, Any] | None = None):
        fixed = {
            "device": "cpu",
            "show_progress": False,
            "MAX_ITEM_LIST_LENGTH": MAX_CLICKS,
            "train_batch_size": TOY_BATCH,
        }
        self.config = load_config(model, "toy", config_dict=fixed | dict(settings or {}))
        rng = np.random.default_rng(7)
        lengths = [1, 1, 2, 3, 5, 8, MAX_CLICKS, MAX_CLICKS, 7, 7]
        self.sessions = [rng.integers(1, N_ITEMS + 1, length).tolist() for length in lengths]
        self.sessions[-1] = [3] * 7
        self.targets = rng.integers(1, N_ITEMS + 1, len(lengths)).tolist()
        self.data = self._data()
        self.dataset = SessionDataset(self.config, self.data).build()[0]

    def build(self, seed: int = 0) -> torch.nn.Module:
        """A freshly seeded model over ``N_ITEMS`` items, ready to predict."""
        init_seed(seed, True)
        return construct(self.config, self.dataset).eval()

    def batch(self, rows: Sequence[int] | None = None, width: int = MAX_CLICKS, relabel=None) -> Interaction:
        """Sessions ``rows`` (all by default) right-padded to ``width``, item ids mapped through ``relabel``."""
        rows = range(len(self.sessions)) if rows is None else rows
        relabel = torch.arange(N_ITEMS + 1) if relabel is None else relabel
        padded = torch.zeros(len(rows), width, dtype=torch.long)
        for line, row in enumerate(rows):
            clicks = self.sessions[row]
            padded[line, : len(clicks)] = relabel[clicks]
        return Interaction(
            {
                self.config["USER_ID_FIELD"]: torch.tensor(rows) + 1,
                self.config["ITEM_ID_FIELD"] + self.config["LIST_SUFFIX"]: padded,
                self.config["ITEM_LIST_LENGTH_FIELD"]: torch.tensor([len(self.sessions[row]) for row in rows]),
                self.config["ITEM_ID_FIELD"]: relabel[[self.targets[row] for row in rows]],
                self.config["NEG_PREFIX"] + self.config["ITEM_ID_FIELD"]: relabel[torch.tensor(rows) % N_ITEMS + 1],
            }
        )

    @torch.no_grad()
    def scores(self, model: torch.nn.Module, batch: Interaction) -> torch.Tensor:
        """Scores of items 1..N, ``[B, N]``."""
        return model.full_sort_predict(batch).view(len(batch), -1)[:, 1:]

    def _data(self) -> SessionData:
        clicks = [[*session, target] for session, target in zip(self.sessions, self.targets)]
        sessions = Sessions(
            items=np.concatenate(clicks).astype(np.int32),
            offsets=np.cumsum([0, *map(len, clicks)]),
            ids=np.array([str(i) for i in range(len(clicks))]),
        )
        tokens = np.array([PAD_TOKEN, *(f"item {i}" for i in range(1, N_ITEMS + 1))])
        return SessionData("toy", train=sessions, test=sessions, valid=sessions, tokens=tokens)


def check_shapes(bench: Workbench) -> None:
    """Catalogue scores are [B, N + 1], ``predict`` is one column of them, the loss is one finite number."""
    model, batch = bench.build(), bench.batch()
    with torch.no_grad():
        scores = model.full_sort_predict(batch)
        assert scores.numel() == len(batch) * (N_ITEMS + 1), (
            f"full_sort_predict returned {tuple(scores.shape)}, expected {len(batch)} x {N_ITEMS + 1} scores"
        )
        single = model.predict(batch)
    assert single.shape == (len(batch),), f"predict returned {tuple(single.shape)}, expected ({len(batch)},)"
    column = scores.view(len(batch), -1).gather(1, torch.tensor(bench.targets).unsqueeze(1)).squeeze(1)
    assert_close(single, column, "predict and full_sort_predict disagree")
    loss = training_loss(model, batch)
    assert loss.shape == () and torch.isfinite(loss), f"the training loss is {loss}, expected one finite number"


def check_leaks(bench: Workbench) -> None:
    """Scores depend on nothing but a session's clicks: ``leakcheck`` on the bench's sessions."""
    with tempfile.TemporaryDirectory() as root:
        write_dataset(Path(root), bench.data, {})
        config = copy.deepcopy(bench.config)
        config["data_path"] = root
        model, loaders = build_model(config, bench.data)
        try:
            found = leakcheck.check_leaks(model.eval(), loaders, config, bench.data)
        except ValueError as error:
            raise AssertionError(str(error)) from error
    assert not found.leaks, f"the model leaks: {found.leak}"


def check_batch_mates(bench: Workbench) -> None:
    """A session's scores depend on no other session of the batch, nor on their order."""
    model = bench.build()
    together = bench.scores(model, bench.batch())
    order = list(reversed(range(len(bench.sessions))))
    assert_close(bench.scores(model, bench.batch(order)), together[order], "scores depend on the order of the batch")
    for row in order:
        alone = bench.scores(model, bench.batch([row]))
        assert_close(alone, together[[row]], f"scores of session {row} depend on its batch mates")


def check_padding(bench: Workbench) -> None:
    """Scores do not depend on how far a session is padded."""
    model = bench.build()
    rows = [row for row, clicks in enumerate(bench.sessions) if len(clicks) < MAX_CLICKS]
    narrow = max(len(bench.sessions[row]) for row in rows)
    wide = bench.scores(model, bench.batch(rows))
    assert_close(bench.scores(model, bench.batch(rows, narrow)), wide, "scores depend on the padding")


def check_relabelling(bench: Workbench) -> None:
    """Renaming the items, their vectors renamed along, permutes the scores and changes nothing else."""
    model, renamed = bench.build(), bench.build()
    new_id = torch.cat([torch.zeros(1, dtype=torch.long), torch.randperm(N_ITEMS) + 1])
    with torch.no_grad():
        for value in [*renamed.parameters(), *renamed.buffers()]:
            if value.dim() and value.shape[0] == N_ITEMS + 1:
                value[new_id] = value.clone()
    for module in renamed.modules():
        # What holds item ids themselves, and says how to rename them.
        if hasattr(module, "rename_items"):
            module.rename_items(new_id)
    before = bench.scores(model, bench.batch())
    after = bench.scores(renamed, bench.batch(relabel=new_id))
    assert_close(after[:, new_id[1:] - 1], before, "scores depend on the numbers given to the items")


def check_extreme_sessions(bench: Workbench) -> None:
    """One click, one item clicked again and again, and the longest session give finite scores and losses."""
    model = bench.build()
    for row in (0, len(bench.sessions) - 1, len(bench.sessions) - 4):
        batch = bench.batch([row])
        kind = f"a session of {len(bench.sessions[row])} clicks on {len(set(bench.sessions[row]))} items"
        assert torch.isfinite(bench.scores(model, batch)).all(), f"scores of {kind} are not finite"
        assert torch.isfinite(training_loss(model, batch)), f"the loss of {kind} is not finite"


def check_gradients(bench: Workbench) -> None:
    """Every parameter takes part in the loss."""
    model = bench.build()
    training_loss(model, bench.batch()).backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not idle, f"no gradient reaches {', '.join(idle)}"


def check_prediction_is_deterministic(bench: Workbench) -> None:
    """Predicting twice gives the same bits and draws no random number."""
    model = bench.build()
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    first = bench.scores(model, bench.batch())
    after = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
    drawn = not torch.equal(before[0], after[0]) or not np.array_equal(before[1], after[1]) or before[2] != after[2]
    assert not drawn, "prediction draws random numbers"
    assert torch.equal(first, bench.scores(model, bench.batch())), "predicting twice gives different scores"


def check_state_round_trip(bench: Workbench) -> None:
    """``state_dict`` and ``other_parameter`` hold all there is to a model."""
    model, other = bench.build(seed=0), bench.build(seed=1)
    other.load_state_dict(model.state_dict())
    other.load_other_parameter(model.other_parameter())
    scores = bench.scores(model, bench.batch()), bench.scores(other, bench.batch())
    assert torch.equal(*scores), "scores change when the state is loaded into another instance"


def check_learns_toy(bench: Workbench, max_epochs: int = 30) -> None:
    """The model finds the toy data's rule: hit@1 above 0.95 on its test sessions."""
    config = bench.config
    datasets = SessionDataset(config, toy()).build()
    train, _, test = build_loaders(config, datasets)
    init_seed(0, True)
    model = construct(config, datasets[0])
    optimizer = RowAdam(model.parameters(), lr=0.01)
    best = 0.0
    for _ in range(max_epochs):
        model.train()
        for batch in train:
            optimizer.zero_grad()
            as_scalar(model.calculate_loss(batch)).backward()
            optimizer.step()
        best = max(best, evaluate(rank_all(model, test, torch.device("cpu")), [1], ["Hit"])["hit@1"])
        if best > TOY_TARGET:
            return
    raise AssertionError(f"hit@1 on the toy data reached {best:.3f} in {max_epochs} epochs, expected > {TOY_TARGET}")


def training_loss(model: torch.nn.Module, batch: Interaction) -> torch.Tensor:
    """The loss of a batch in training mode; the model is left ready to predict."""
    model.train()
    torch.manual_seed(0)
    loss = as_scalar(model.calculate_loss(batch))
    model.eval()
    return loss


def as_scalar(loss) -> torch.Tensor:
    """RecBole's losses may be a tuple of parts."""
    return sum(loss) if isinstance(loss, tuple) else loss


def assert_close(actual: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    """Equal up to float rounding, relative to the size of the scores."""
    gap = (actual - expected).abs().max().item()
    allowed = TOLERANCE * max(1.0, expected.abs().max().item())
    assert gap <= allowed, f"{what}: the largest difference is {gap:.2e}, allowed {allowed:.2e}"
