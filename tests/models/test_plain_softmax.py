"""RecBole's models with the fused loss: the same numbers as by their own code, and which models have it."""

import csv

import pytest
import torch

from recbole_tme.cli import main
from recbole_tme.config.load import load_config
from recbole_tme.errors import UserError
from recbole_tme.experiment.run import run
from recbole_tme.experiment.trainer import named_losses
from recbole_tme.models.builtin.discovery import PLAIN_SOFTMAX
from recbole_tme.models.plain_softmax import fused_loss
from recbole_tme.testing import Workbench

CPU = {"device": torch.device("cpu")}


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def loss_and_gradients(model, losses, batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The summed loss and every parameter's gradient, always with the same dropout."""
    model.zero_grad()
    torch.manual_seed(3)
    loss = sum(losses(batch).values())
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(found, expected) -> None:
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-6)
    assert list(found[1]) == list(expected[1])
    for name, gradient in expected[1].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", PLAIN_SOFTMAX)
def test_the_fused_loss_is_the_models_own_in_value_and_every_gradient(name):
    bench = Workbench(f"recbole:{name}")
    model, batch = bench.build().train(), bench.batch()
    own, fused = (
        loss_and_gradients(model, named_losses(model, CPU | {"builtin_loss": by}), batch) for by in ("own", "fp32")
    )
    assert_same(fused, own)
    assert own[1]["item_embedding.weight"][0].any(), "RecBole's softmax counts padding"


@pytest.mark.parametrize("attack", ["fgm", "closed_form"])
def test_adversarial_training_has_the_same_loss_by_either(attack):
    found = []
    for by in ("own", "fp32"):
        settings = {"backbone": "SASRec", "adv_attack": attack, "adv_epsilon": 0.3, "builtin_loss": by}
        bench = Workbench("ATSRec", settings)
        model = bench.build().train()
        found.append(loss_and_gradients(model, model.losses, bench.batch()))
    assert_same(found[1], found[0])


def test_the_precision_is_the_one_asked_for():
    bench = Workbench("SASRec")
    model, batch = bench.build().eval(), bench.batch()
    by_precision = [named_losses(model, CPU | {"builtin_loss": name}) for name in ("fp32", "bf16")]
    exact, rounded = (losses(batch)["recommendation"] for losses in by_precision)
    torch.testing.assert_close(rounded, exact, rtol=1e-2, atol=0)
    assert not torch.equal(rounded, exact)


def test_their_own_code_is_the_default():
    assert fused_loss(Workbench("SASRec").config) is None


@pytest.mark.parametrize("model", ["GCSAN", "CORE", "TMEGNN", "ATSRec+TMEGNN"])
def test_other_models_do_not_have_the_key(model):
    with pytest.raises(UserError, match="unknown key 'builtin_loss'"):
        load_config(model, "toy", config_dict={"builtin_loss": "fp32"})


def test_a_pairwise_loss_cannot_be_fused():
    with pytest.raises(UserError, match=r"builtin_loss: auto .* loss_type: BPR"):
        load_config("SASRec", "toy", config_dict={"builtin_loss": "auto", "loss_type": "BPR"})


def test_a_run_with_the_fused_loss_learns_what_the_models_own_learns():
    quiet = {"show_progress": False, "device": "cpu", "epochs": 2, "learning_rate": 0.01}
    own, fused = (
        run(load_config("GRU4Rec", "toy", config_dict=quiet | {"builtin_loss": by, "run_dir": by}))
        for by in ("own", "fp32")
    )
    losses = []
    for directory in (own, fused):
        with directory.history_file.open() as file:
            losses.append([float(row["loss_recommendation"]) for row in csv.DictReader(file)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert own.model_file.read_bytes() != fused.model_file.read_bytes(), "the fused loss rounds in another order"


def test_an_unknown_way_is_refused(capsys):
    assert main(["--model=GRU4Rec", "--dataset=toy", "--builtin_loss=fast"]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "builtin_loss must be one of own, fp32, bf16, auto" in message
