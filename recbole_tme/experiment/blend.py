"""A run of :class:`~recbole_tme.models.blend.Blend`: its members loaded, its weights learned on validation, then
evaluated once."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from recbole_tme.config.load import SessionConfig, load_config
from recbole_tme.config.result_settings import result_settings
from recbole_tme.data.sessions import SessionData
from recbole_tme.errors import UserError
from recbole_tme.evaluation.beyond_accuracy import asked_for, measured
from recbole_tme.evaluation.metrics import METRICS, metric_key
from recbole_tme.evaluation.protocol import Protocol, trained_on
from recbole_tme.evaluation.ranks import rank_all
from recbole_tme.evaluation.summary import shown_name, shown_value
from recbole_tme.experiment.loading import Loaders, build_model
from recbole_tme.experiment.surroundings import tell
from recbole_tme.models.blend import Blend, is_training_free, member_chances
from recbole_tme.nn.blending import Candidates, mix_chances, searched_weights
from recbole_tme.recbole_patches.stock import config_to_plain
from recbole_tme.runs.checkpoint import check_catalogue, load_checkpoint, read_weights, restore_model
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.runs.find import finished_run

# Validation instances that the temperatures are learned on, evenly spread.
LEARNED_ON = 20_000
# Of these, so many for the weights with the best ranks, each with the items that a member puts first: so many times the
# length of the list that is judged.
RANKED_ON, LISTS = 10_000, 3
# Scores that are held at a time: 64 MB of float32.
SCORES_AT_ONCE = 2**24
TEMPERATURES = (0.8, 1.0, 1.25, 1.6, 2.0)


class Trained(NamedTuple):
    """A model that is ready to be evaluated on test.

    Attributes:
        model: on its device.
        loaders: of the data it was trained on.
        epoch: the epoch that was selected, counted from 1; 0 for what has none.
        valid: metrics on validation, by name; None where none was used.
        epoch_seconds: how long an epoch took.
        cpu_seconds: CPU time of all epochs with their validation, summed over the threads of this process.
    """

    model: nn.Module
    loaders: Loaders
    epoch: int
    valid: dict[str, float] | None
    epoch_seconds: float
    cpu_seconds: float


def with_members(config: SessionConfig, data: SessionData, protocol: Protocol) -> SessionConfig:
    """The configuration of a blend with its members' settings in it.

    Raises:
        UserError: there is no member, or one is not finished or of other data or another protocol; or the blend cannot
            be made with these settings.
    """
    if config["select_on"] == "test":
        raise UserError("select_on: test leaves no validation to learn a blend's weights on; set select_on: valid")
    if config["nproc"] > 1:
        raise UserError(f"nproc: {config['nproc']} processes cannot share a blend, which is not trained; set nproc: 1")
    if not config["members"]:
        raise UserError("members: Blend is made of finished runs; give --members=RUN,RUN,...")
    members = []
    for path in config["members"]:
        run = finished_run(path, "members: ")
        differing = Protocol.of_run(run).differences(protocol)
        if differing:
            raise UserError(f"members: {path} is of another protocol than the blend ({', '.join(differing)} differ)")
        check_catalogue(run.read_items(), data.tokens, run.items_file)
        member = load_config(None, None, [run.config_file], overrides={"device": "cpu"})
        members.append(result_settings(config_to_plain(member)))
    return config.replaced(member_settings=members)


def blend(config: SessionConfig, data: SessionData, protocol: Protocol, directory: RunDirectory) -> Trained:
    """Learn a blend's weights with its members as they were before they saw validation, then fill in their final
    weights.

    Args:
        config: the blend's.
        data: the data set.
        protocol: of the blend.
        directory: where the configuration is written, its members' settings included.

    Raises:
        UserError: as :func:`with_members`, or a member's weights are damaged or gone.
    """
    started, cpu_started = time.perf_counter(), time.process_time()
    config = with_members(config, data, protocol)
    directory.write_config(config.plain())
    runs = [finished_run(path, "members: ") for path in config["members"]]
    model, loaders = build_model(config, data)
    for member, run in zip(model.members, runs):
        restore_model(member, {"state_dict": _selected_weights(run, config)}, run.path)
    learn_weights(model.eval(), loaders[1].dataset, config["valid_metric"])
    for what, weights in zip(("repeating", "the session's items", "new items"), model.weights.tolist()):
        tell(f"weights for {what}: {', '.join(f'{weight:.3f}' for weight in weights)}")
    beyond = asked_for(config, loaders[0].dataset)
    ranks = rank_all(model, loaders[1], config["device"], config["show_progress"], beyond)
    valid = measured(config, ranks, beyond)
    shown = ", ".join(f"{shown_name(name)} {shown_value(name, value):.2f}" for name, value in valid.items())
    tell(f"validation: {shown}")
    if config["retrain"]:
        learned = model
        model, loaders = build_model(config, trained_on(config, data))
        for member, run in zip(model.members, runs):
            weights = read_weights(run.model_file, str(config["device"]))
            restore_model(member, {"state_dict": weights}, run.model_file)
        model.weights.copy_(learned.weights)
        model.temperatures.copy_(learned.temperatures)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    return Trained(model.eval(), loaders, 0, valid, seconds, cpu_seconds)


@torch.no_grad()
def learn_weights(model: Blend, valid, metric: str) -> None:
    """Set a blend's temperatures to those under which the targets of validation are likeliest, and then its weights to
    those under which they rank best.

    Args:
        model: in evaluation mode, its members not trained on validation.
        valid: the data set of the validation instances.
        metric: what ranks are judged by, with its K, such as MRR@20. Beside it counts whether a target is among the
            first K at all: few first places decide about MRR, and the search would follow their chance.
    """
    rows = np.unique(np.linspace(0, len(valid) - 1, min(LEARNED_ON, len(valid))).astype(np.int64))
    _learn_temperatures(model, valid, rows)
    if len(model.members) == 1:
        return
    name, k = metric_key(metric).split("@")
    candidates = candidates_of(model, valid, rows[:: -(-len(rows) // RANKED_ON)], LISTS * int(k))

    def worth(ranks: torch.Tensor) -> float:
        found = ranks.cpu().numpy()
        return float((METRICS[name](found, int(k)) + METRICS["hit"](found, int(k))).mean())

    equal = torch.full_like(model.weights, 1 / len(model.members))
    alone = torch.eye(len(model.members), device=equal.device).unsqueeze(1).expand(-1, 3, -1)
    model.weights.copy_(searched_weights(candidates, worth, [equal, *alone]))


def _learn_temperatures(model: Blend, valid, rows: np.ndarray) -> None:
    """Of each trained member by itself."""
    size, device = max(1, SCORES_AT_ONCE // model.n_items), model.weights.device
    tried = torch.tensor(TEMPERATURES, device=device)
    trained = [place for place, member in enumerate(model.members) if not is_training_free(member)]
    likelihood = torch.zeros(len(model.members), len(tried), dtype=torch.float64, device=device)
    for start in range(0, len(rows), size):
        batch = valid.inter_feat[torch.from_numpy(rows[start : start + size])].to(device)
        item_seq, target = batch[model.ITEM_SEQ], batch[model.POS_ITEM_ID]
        for place in trained:
            member = model.members[place]
            scores = model.scores_of(member, batch)
            for column, temperature in enumerate(tried):
                chances = member_chances(member, scores, item_seq, temperature).of(item_seq, target)
                likelihood[place, column] += chances.clamp(min=torch.finfo(chances.dtype).tiny).log().sum()
    for place in trained:
        model.temperatures[place] = tried[likelihood[place].argmax()]


def candidates_of(model: Blend, valid, rows: np.ndarray, first: int) -> Candidates:
    """What the members of a blend say of the targets of some validation instances and of the items each puts first.

    Args:
        model: the blend, with its temperatures.
        valid: the data set of the validation instances.
        rows: which of them.
        first: how many items of each member.
    """
    found = []
    size, first = max(1, SCORES_AT_ONCE // model.n_items), min(first, model.n_items - 1)
    for start in range(0, len(rows), size):
        batch = valid.inter_feat[torch.from_numpy(rows[start : start + size])].to(model.weights.device)
        item_seq, target = batch[model.ITEM_SEQ], batch[model.POS_ITEM_ID]
        parts = model.chances(batch)
        ones = model.weights.new_ones(3, 1)
        best = [mix_chances([part], ones, item_seq).topk(first).indices for part in parts]
        items = torch.cat([target.unsqueeze(1), *best], dim=1)
        is_own = (items.unsqueeze(2) == item_seq.unsqueeze(1)).any(2)
        own = [torch.zeros_like(part.new).scatter_(1, item_seq, part.own) for part in parts]
        given = [torch.where(is_own, o.gather(1, items), part.new.gather(1, items)) for o, part in zip(own, parts)]
        order = items.sort(dim=1, stable=True)
        is_double = torch.zeros_like(is_own)
        is_double.scatter_(1, order.indices[:, 1:], order.values[:, 1:] == order.values[:, :-1])
        found.append(
            Candidates(
                torch.stack([p.repeat for p in parts], 1), torch.stack(given, 2), is_own, ~is_double & (items > 0)
            )
        )
    return Candidates(*(torch.cat(each) for each in zip(*found)))


def _selected_weights(run: RunDirectory, config: SessionConfig) -> dict[str, torch.Tensor]:
    """A member's weights of the selected epoch, which has not seen validation."""
    device = str(config["device"])
    if not config["retrain"]:
        return read_weights(run.model_file, device)
    file = run.checkpoint_file("select")
    if not file.is_file():
        raise UserError(
            f"members: {run.path} was trained on validation too, and {file.name}, its state before that, is gone; "
            f"weights cannot be learned without it; train the member again"
        )
    return load_checkpoint(file, map_location=device)["best_state"]
