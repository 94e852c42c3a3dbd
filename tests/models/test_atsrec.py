"""ATSRec: any backbone, its gradient, and what it leaves alone."""

from pathlib import Path

import pytest
import torch
from helpers.atsrec import history, trained
from torch.nn import functional as F

from recbole_tme.cli import main
from recbole_tme.models.builtin import discovery
from recbole_tme.nn.adversarial import fgm
from recbole_tme.testing import Workbench, check_model

OURS = ("SRGNN", "TMEGNN", "TMEGNNDP", "DANSeR")
BACKBONES = {
    "SRGNN": {},
    "TMEGNN": {},
    "TMEGNNDP": {},
    "DANSeR": {},
    "recbole:SRGNN": {},
    "GRU4Rec": {},
    "NARM": {},
    "STAMP": {},
    "SASRec": {},
    "CORE": {},
    "GCSAN": {},
    "BERT4Rec": {},
    "GRU4Rec with negatives": {"loss_type": "BPR"},
    "SRGNN sampled": {"loss_type": "sampled"},
    "TMEGNN scalable": {"loss_type": "scalable"},
}
ATTACKS = ("pgd", "fgm", "fgsm", "free", "closed_form")
NO_DROPOUT = {"dropout_prob": 0.0, "triplet_weight": 0.0, "rank_low": 3, "rank_high": 20, "embedding_size": 16}


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def backbone_name(label: str) -> str:
    return label.partition(" ")[0]


def bench_of(backbone: str, **settings) -> Workbench:
    ours = {"loss_precision": "fp32"} if backbone in OURS else {}
    return Workbench("ATSRec", {"backbone": backbone} | ours | settings)


# Every backbone


@pytest.mark.parametrize("label", BACKBONES)
def test_a_backbone_trains_and_without_weight_it_is_plain_training_bit_for_bit(label):
    settings, backbone = BACKBONES[label], backbone_name(label)
    plain = trained(backbone, **settings)
    off = trained("ATSRec", backbone=backbone, adv_weight=0.0, run_dir="off", **settings)
    assert off.model_file.read_bytes() == plain.model_file.read_bytes()
    assert history(off) == history(plain)
    attacked = trained("ATSRec", backbone=backbone, adv_steps=2, run_dir="on", **settings)
    assert attacked.model_file.read_bytes() != plain.model_file.read_bytes()
    (row,) = history(attacked)
    clean = [float(value) for name, value in row.items() if name.startswith("loss_") and name != "loss_adversarial"]
    assert float(row["loss_adversarial"]) > sum(clean)


@pytest.mark.parametrize(
    ("backbone", "settings"),
    [
        (
            "TMEGNN",
            NO_DROPOUT | {"triplet_weight": 0.001, "embedding_size": 32, "adv_attack": "fgm", "adv_epsilon": 0.1},
        ),
        ("DANSeR", {"embedding_size": 16, "hard_candidates": 8, "adv_steps": 2}),
        ("SASRec", {"adv_attack": "closed_form", "adv_epsilon": 0.1}),
        ("recbole:SRGNN", {"adv_attack": "free", "adv_steps": 2, "adv_norm": "row"}),
        ("GRU4Rec", {"adv_attack": "fgsm", "adv_epsilon": 0.01}),
        ("SRGNN", {"embedding_size": 16, "loss_type": "sampled", "adv_attack": "fgm"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_passes_the_common_tests(backbone, settings):
    check_model("ATSRec", {"backbone": backbone} | settings, learns=backbone == "TMEGNN")


@pytest.mark.parametrize("backbone", ["RepeatNet", "OwnItems", "SPopSTAN"])
def test_a_backbone_without_an_item_embedding_is_refused(backbone, capsys):
    assert main(["--model=ATSRec", f"--backbone={backbone}", "--dataset=toy", "--show_progress=False"]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("error: backbone: ") and backbone in message and "no item_embedding" in message
    assert not Path("runs").exists(), "nothing half written"


# What is computed


@pytest.mark.parametrize("label", ["TMEGNN", "DANSeR", "SASRec", "CORE", "SRGNN sampled", "TMEGNN scalable"])
@pytest.mark.parametrize("attack", ["fgm", "fgsm", "pgd", "free"])
def test_the_gradient_is_that_of_clean_plus_weighted_adversarial_loss(label, attack):
    attacked = {"adv_attack": attack, "adv_weight": 0.7, "adv_steps": 3, "adv_epsilon": 0.4}
    bench = bench_of(backbone_name(label), **BACKBONES[label], **attacked)
    model, batch = bench.build().train(), bench.batch()
    visited, replace = [], model.loss_with_table

    def spy(table, interaction):
        visited.append(table.detach() - model.item_embedding.weight.detach())
        return replace(table, interaction)

    model.loss_with_table = spy
    torch.manual_seed(5)
    losses = model.losses(batch)
    sum(losses.values()).backward()
    after = torch.rand(3)
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()

    # The same by plain autograd, the perturbations taken as they were found.
    assert len(visited) == (1 if attack in ("fgm", "fgsm") else 3)
    deltas = visited if attack == "free" else visited[-1:]
    total = 0.0
    for delta, weight in [(None, 1.0), *((delta, 0.7 / len(deltas)) for delta in deltas)]:
        torch.manual_seed(5)
        table = model.item_embedding.weight if delta is None else model.item_embedding.weight + delta
        total = total + weight * replace(table, batch)
    assert torch.equal(torch.rand(3), after)
    total.backward()
    for name, parameter in model.named_parameters():
        assert found[name].is_sparse == parameter.grad.is_sparse
        torch.testing.assert_close(found[name].to_dense(), parameter.grad.to_dense(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(sum(losses.values()), total, rtol=1e-5, atol=1e-5)
    for delta in visited:
        assert not delta[0].any() and delta.abs().sum() > 0
        assert attack == "fgsm" or float(delta.norm()) <= 0.4 * (1 + 1e-4)


@pytest.mark.parametrize("attack", ["fgm", "pgd", "free"])
def test_a_loss_sampled_from_all_items_is_attacked_like_the_full_one(attack):
    settings = {"adv_attack": attack, "adv_steps": 2, "adv_epsilon": 0.4, "in_batch_negatives": False}
    full = bench_of("SRGNN", **settings)
    sampled = bench_of("SRGNN", loss_type="sampled", n_sampled=10**6, **settings)
    models = [full.build(), sampled.build()]
    models[1].load_state_dict(models[0].state_dict())
    for model in models:
        model.calculate_loss(full.batch()).backward()
    for first, second in zip(models[0].parameters(), models[1].parameters()):
        torch.testing.assert_close(first.grad, second.grad.to_dense(), rtol=1e-4, atol=1e-6)
    assert models[1].item_embedding.weight.grad.is_sparse


def test_the_loss_of_a_model_grows_along_the_perturbation_as_predicted():
    bench = bench_of("TMEGNN", **NO_DROPOUT)
    model, batch = bench.build().double(), bench.batch()
    table = model.item_embedding.weight
    (gradient,) = torch.autograd.grad(model.loss_with_table(table, batch), table)
    delta, step = fgm(gradient, 0.5), 1e-5
    with torch.no_grad():
        up, down = (model.loss_with_table(table + sign * step * delta, batch) for sign in (1, -1))
    torch.testing.assert_close((up - down) / (2 * step), 0.5 * gradient[1:].norm(), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "backbone", ["SRGNN", "TMEGNN", "TMEGNNDP", "GRU4Rec", "NARM", "SASRec", "recbole:SRGNN", "STAMP"]
)
def test_closed_form_keeps_the_clean_losses_and_lowers_each_targets_score(backbone):
    bench = bench_of(backbone, adv_attack="closed_form", adv_weight=0.5, adv_epsilon=0.3)
    model, batch = bench.build(), bench.batch()
    torch.manual_seed(1)
    losses = model.losses(batch)
    torch.manual_seed(1)
    expected = model.backbone_losses(batch)
    assert list(losses) == [*expected, "adversarial"]
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)
    session = model(batch["item_id_list"], batch["item_length"]).detach()
    scores = bench.scores(model, batch)
    if discovery.is_builtin(model.backbone_class):
        # RecBole's softmax counts padding, whose vector is not 0 at the start.
        padding = (session @ model.item_embedding.weight[:1].T).detach()
        scores = torch.cat([scores, padding], dim=1)
    targets = torch.tensor(bench.targets)
    for row, target in enumerate(targets):
        scores[row, target - 1] -= 0.3 * session[row].norm()
    torch.testing.assert_close(losses["adversarial"], 0.5 * F.cross_entropy(scores, targets - 1))


def test_nothing_but_the_losses_is_touched_when_the_backbone_raises():
    bench = bench_of("TMEGNN", adv_attack="pgd")
    model, batch = bench.build().train(), bench.batch()
    before, passes = {name: value.clone() for name, value in model.state_dict().items()}, []
    encode = model.encode

    def breaks_in_the_third_pass(*arguments):
        passes.append(model.item_embedding.weight)
        if len(passes) == 3:
            raise RuntimeError("out of memory")
        return encode(*arguments)

    model.encode = breaks_in_the_third_pass
    table = model.item_embedding.weight
    with pytest.raises(RuntimeError, match="out of memory"):
        model.losses(batch)
    assert model.item_embedding.weight is table is passes[0] and passes[2] is not table
    assert isinstance(model.item_embedding.weight, torch.nn.Parameter)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_every_pass_has_the_dropout_masks_of_the_first():
    bench = bench_of("SASRec", adv_steps=3)
    model, masks = bench.build().train(), []
    model.dropout.register_forward_hook(lambda module, inputs, output: masks.append(output == 0))
    model.losses(bench.batch())
    assert len(masks) == 4 and masks[0].any()
    assert all(torch.equal(mask, masks[0]) for mask in masks)


def test_without_gradients_the_losses_are_the_backbones():
    bench = bench_of("TMEGNN", **NO_DROPOUT)
    model = bench.build()
    with torch.no_grad():
        assert set(model.losses(bench.batch())) == {"recommendation"}
