"""Blends of finished runs: what they are made of, what their weights learn from, and where they work."""

import json

import numpy as np
import pytest
import torch
from helpers.quick_run import QUICK, quick_run

from recbole_tme.cli import main
from recbole_tme.comparison.plan import plan
from recbole_tme.config.load import load_config, parse_overrides
from recbole_tme.errors import UserError
from recbole_tme.evaluation.metrics import evaluate
from recbole_tme.evaluation.ranks import Ranks, rank_all
from recbole_tme.experiment import blend as blend_module
from recbole_tme.experiment.loading import load_run
from recbole_tme.experiment.run import run
from recbole_tme.nn.blending import LEAST_CHANCE, candidate_ranks
from recbole_tme.runs.checkpoint import load_checkpoint, read_weights
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.serving.bundle import write_bundle
from recbole_tme.serving.recommender import Recommender

MEMBERS = [
    ("DANSeR", {"embedding_size": 8}),
    ("recbole:GRU4Rec", {"embedding_size": 8, "hidden_size": 8}),
    ("VSKNN", {}),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("blend")


@pytest.fixture(scope="module")
def members(folder):
    return [quick_run(folder, model, retrain=True, **settings) for model, settings in MEMBERS]


@pytest.fixture(scope="module")
def blended(folder, members):
    return quick_run(folder, "Blend", retrain=True, members=",".join(str(member.path) for member in members))


def test_it_scores_as_its_members_do_mixed(blended, members):
    loaded = load_run(blended.path)
    model = loaded.model
    batch = loaded.loaders[2].dataset.inter_feat[torch.arange(20)]
    seen = {}
    for member, of_run in zip(model.members, members):
        with torch.no_grad():
            scores = model.scores_of(member, batch)
            torch.testing.assert_close(scores, load_run(of_run.path).model.full_sort_predict(batch).view(20, -1))
            if "VSKNN" not in str(of_run.path):
                scores[:, 0] = -torch.inf
                scores = (scores / model.temperatures[len(seen)]).softmax(1)
        seen[len(seen)] = scores
    mixed = model.full_sort_predict(batch)
    torch.testing.assert_close(mixed[:, 1:].sum(1), torch.ones(20))
    torch.testing.assert_close(model.weights.sum(1), torch.ones(3))
    # What the members say of the new items of a session is multiplied.
    for row, clicks in enumerate(batch["item_id_list"]):
        new = torch.tensor([i for i in range(1, model.n_items) if i not in clicks])
        given = torch.ones(len(new))
        for weight, scores in zip(model.weights[2], seen.values()):
            given *= (scores[row, new] / scores[row, new].sum().clamp(min=1e-30) + LEAST_CHANCE) ** weight
        torch.testing.assert_close(mixed[row, new] / mixed[row, new].sum(), given / given.sum(), rtol=1e-4, atol=1e-6)


def test_a_loaded_blend_ranks_as_its_run_did(blended):
    loaded = load_run(blended.path)
    ranks, again = Ranks.load(blended.ranks_file), rank_all(loaded.model, loaded.loaders[2], loaded.config["device"])
    np.testing.assert_array_equal(ranks.better, again.better)
    metrics = blended.read_metrics()
    assert metrics["model"] == "Blend" and set(metrics["valid"]) == set(metrics["test"])


def test_its_weights_are_learned_with_members_that_have_not_seen_validation(folder, members, monkeypatch):
    seen = []
    learn = blend_module.learn_weights

    def spy(model, valid, metric):
        seen.append({name: value.clone() for name, value in model.members[0].state_dict().items()})
        learn(model, valid, metric)

    monkeypatch.setattr(blend_module, "learn_weights", spy)
    made = quick_run(folder, "Blend", retrain=True, members=[str(members[0].path)])
    selected = load_checkpoint(members[0].checkpoint_file("select"))["best_state"]
    final, in_blend = read_weights(members[0].model_file), read_weights(made.model_file)
    name = "item_embedding.weight"
    assert torch.equal(seen[0][name], selected[name]) and not torch.equal(selected[name], final[name])
    assert torch.equal(in_blend[f"members.0.{name}"], final[name])


def test_test_sessions_do_not_move_the_weights(blended, folder, members, monkeypatch):
    loaded = load_run(blended.path)
    other = blend_module.learn_weights
    seen = []
    monkeypatch.setattr(
        blend_module, "learn_weights", lambda m, valid, metric: seen.append(len(valid)) or other(m, valid, metric)
    )
    quick_run(folder, "Blend", retrain=True, members=[str(members[0].path)])
    assert seen == [len(loaded.loaders[1].dataset)] != [len(loaded.loaders[2].dataset)]


def test_its_weights_are_judged_by_the_ranks_that_the_blend_will_have(blended):
    loaded = load_run(blended.path)
    model, valid = loaded.model, loaded.loaders[1].dataset
    with torch.no_grad():
        candidates = blend_module.candidates_of(model, valid, np.arange(len(valid)), model.n_items)
    found = candidate_ranks(candidates)(model.weights).numpy()
    wanted = rank_all(model, loaded.loaders[1], loaded.config["device"]).rank
    np.testing.assert_allclose(found, wanted, atol=1)
    assert np.mean(found == wanted) > 0.95


def test_its_weights_are_worth_more_on_validation_than_equal_ones_or_one_member(blended):
    """By what they were searched for: MRR@20 and the share of targets among the first 20."""
    loaded = load_run(blended.path)
    model, loader = loaded.model, loaded.loaders[1]
    blend_module.learn_weights(model, loader.dataset, "MRR@20")

    def worth():
        found = evaluate(rank_all(model, loader, loaded.config["device"]), 20, ["Hit", "MRR"])
        return sum(found.values())

    searched, learned = worth(), model.weights.clone()
    for other in (torch.full((3, 3), 1 / 3), *torch.eye(3).unsqueeze(1).expand(-1, 3, -1)):
        model.weights.copy_(other)
        assert searched > worth() - 1e-6
    model.weights.copy_(learned)


def test_it_is_recommended_bundled_and_compared(blended, members, folder, capsys):
    sessions = [[load_run(blended.path).data.tokens[3], load_run(blended.path).data.tokens[7]]]
    write_bundle(blended.path, folder / "bundle")
    answers = [Recommender.load(path).recommend(sessions, 5) for path in (blended.path, folder / "bundle")]
    assert answers[0].equals(answers[1]) and len(answers[0]) == 5
    assert main(["table", str(blended.path), *(str(member.path) for member in members)]) == 0
    assert "Blend" in capsys.readouterr().out
    json.dumps(blended.read_metrics())


def test_a_comparison_takes_a_blend_of_given_runs_once_whatever_the_seeds(blended, members, folder):
    of_blend = f"Blend members=[{','.join(str(member.path) for member in members)}]"
    overrides = parse_overrides([f"--data_path={folder / 'data'}", "--retrain=True", "--epochs=1"])
    comparison = plan(f"SRGNN,{of_blend}", "shop", [], overrides, "3")
    assert [len(row.configs) for row in comparison.rows] == [3, 1]
    # So that no test between models takes it for a model without seeds.
    assert [row.entry.seed_independent for row in comparison.rows] == [False, False]


def test_members_that_do_not_fit_are_refused_before_a_directory_is_made(folder, members, tmp_path):
    with RunDirectory.create(tmp_path, "shop", "SR", 1, "00000000") as unfinished:
        unfinished.write_config(members[0].read_config())
    for given, said in (
        ({}, "give --members"),
        ({"members": str(tmp_path / "none")}, "not a run directory"),
        ({"members": [str(unfinished.path)]}, "is not finished"),
        ({"members": [str(members[0].path)], "retrain": False}, "another protocol"),
        ({"members": [str(members[0].path)], "select_on": "test", "retrain": False}, "select_on"),
    ):
        settings = (
            QUICK | {"data_path": str(folder / "data"), "run_dir": str(tmp_path / "out"), "retrain": True} | given
        )
        with pytest.raises(UserError, match=said):
            run(load_config("Blend", "shop", config_dict=settings))
        assert not (tmp_path / "out").exists()


def test_a_member_without_its_state_before_validation_is_refused(folder, tmp_path):
    member = quick_run(folder, "SR", retrain=True, seed=3)
    member.checkpoint_file("select").unlink()
    with pytest.raises(UserError, match=r"checkpoint-select\.pt"):
        quick_run(folder, "Blend", retrain=True, members=[str(member.path)], run_dir=str(tmp_path))
