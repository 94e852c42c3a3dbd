"""TME-GNN: the common tests, and what is particular to it."""

import pytest
import torch
from torch.nn import functional as F

from recbole_tme.nn.losses import triplet_margin
from recbole_tme.testing import Workbench, check_model

# Rank windows of the default settings, scaled to a catalogue of 40 items.
SMALL = {
    "loss_precision": "fp32",
    "embedding_size": 16,
    "rank_low": 3,
    "rank_high": 20,
    "negatives": 4,
    "dropout_prob": 0.0,
}


@pytest.fixture
def bench():
    return Workbench("TMEGNN", SMALL)


@pytest.mark.parametrize("n_layers", [1, 2])
def test_passes_the_common_tests(n_layers):
    check_model("TMEGNN", SMALL | {"n_layers": n_layers, "embedding_size": 32}, learns=n_layers == 1)


def test_losses_are_cross_entropy_and_weighted_triplets_of_mined_negatives(bench):
    model, batch = bench.build(), bench.batch()
    torch.manual_seed(3)
    losses = model.losses(batch)
    scores = bench.scores(model, batch)
    targets = torch.tensor(bench.targets)
    torch.testing.assert_close(losses["recommendation"], F.cross_entropy(scores, targets - 1))

    torch.manual_seed(3)
    # The same uniforms that the draw uses: each session's negatives are at the ranks of its four largest.
    uniforms = torch.rand(len(targets), SMALL["rank_high"] - SMALL["rank_low"])
    negatives = []
    for row, target in enumerate(bench.targets):
        order = [i + 1 for i in scores[row].argsort(descending=True).tolist() if i + 1 != target]
        window = order[SMALL["rank_low"] : SMALL["rank_high"]]
        negatives.append([window[i] for i in uniforms[row].topk(SMALL["negatives"]).indices.tolist()])
    vectors = model.item_embedding.weight
    means = torch.stack([vectors[clicks].mean(0) for clicks in bench.sessions])
    with torch.no_grad():
        session = model(batch["item_id_list"], batch["item_length"])
        expected = triplet_margin(model.anchor(means), session, vectors[torch.tensor(negatives)], 0.5)
    torch.testing.assert_close(losses["triplet"], model.triplet_weight * expected)


def test_mined_negatives_are_never_the_target_or_padding(bench):
    model, batch = bench.build(), bench.batch()
    seen = []
    embedding = model.item_embedding.forward
    model.item_embedding.forward = lambda ids: seen.append(ids) or embedding(ids)
    for _ in range(20):
        model.losses(batch)
    negatives = [ids for ids in seen if ids.shape[1:] == (SMALL["negatives"],)]
    assert len(negatives) == 20
    for ids in negatives:
        assert (ids > 0).all() and not (ids == batch["item_id"].unsqueeze(1)).any()


def test_without_triplets_there_is_one_loss_and_no_anchor():
    model = (bench := Workbench("TMEGNN", SMALL | {"triplet_weight": 0.0})).build()
    assert set(model.losses(bench.batch())) == {"recommendation"}
    assert not any("anchor" in name for name, _ in model.named_parameters())


def test_the_last_layer_is_the_one_that_is_used(bench):
    deep = Workbench("TMEGNN", SMALL | {"n_layers": 2})
    model, batch = deep.build(), deep.batch()
    before = deep.scores(model, batch)
    with torch.no_grad():
        model.layers[1].relation_weight.mul_(-3)
    assert not torch.allclose(before, deep.scores(model, batch))


def test_rank_window_is_clamped_to_a_small_catalogue():
    bench = Workbench("TMEGNN", SMALL | {"rank_low": 10, "rank_high": 200})
    losses = bench.build().losses(bench.batch())
    assert torch.isfinite(losses["triplet"])


def test_starts_uniform_in_one_over_root_d_with_a_zero_padding_row(bench):
    model = bench.build()
    bound = 16**-0.5
    values = torch.cat([p.flatten() for p in model.parameters()]).detach()
    assert values.abs().max() <= bound and values.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert not model.item_embedding.weight[0].any()


@pytest.mark.parametrize("seed", range(6))
def test_untrained_sessions_point_to_their_items(bench, seed):
    model = bench.build(seed)
    items = torch.arange(1, model.n_items)
    with torch.no_grad():
        session = model(items.unsqueeze(1), torch.ones_like(items))
        towards = (session * model.item_embedding(items)).sum(1)
    assert towards.mean() >= 0
