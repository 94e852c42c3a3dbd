"""On a GPU: the CPU's numbers, steps that never wait for the device, and whole runs; skipped where there is none."""

import math

import pytest
import torch
from helpers.steps import LOSS_TYPES, MODELS, TOY, model_and_batch, step

from recbole_tme.config.load import load_config
from recbole_tme.experiment.run import run
from recbole_tme.nn.losses import catalogue_cross_entropy

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("precision", "tolerance"), [(None, 1e-5), (torch.bfloat16, 5e-3)])
def test_the_fused_loss_is_that_of_the_cpu(precision, tolerance):
    torch.manual_seed(0)
    sessions, table = torch.randn(300, 64), 0.2 * torch.randn(2001, 64)
    target, weight = torch.randint(1, 2001, (300,)), torch.rand(300)
    excluded = torch.stack([target % 2000 + 1, torch.zeros_like(target)], dim=1)

    def on(device, precision):
        factors = [tensor.to(device).requires_grad_() for tensor in (sessions, table)]
        rest = [tensor.to(device) for tensor in (target, excluded, weight)]
        loss, ranked = catalogue_cross_entropy(*factors, rest[0], 20, rest[1], rest[2], precision)
        return ranked.cpu(), [tensor.cpu() for tensor in (loss.detach(), *torch.autograd.grad(loss, factors))]

    ranked, ours = on("cuda", precision)
    expected_ranking, expected = on("cpu", None)
    for found, wanted in zip(ours, expected):
        assert (found - wanted).norm() <= tolerance * wanted.norm()
    if precision is None:
        assert (ranked == expected_ranking).float().mean() > 0.99


@pytest.mark.parametrize("name", [*MODELS, "recbole:SRGNN"])
def test_scores_are_those_of_the_cpu(name):
    scores = []
    for device in ("cpu", "cuda"):
        model, batch = model_and_batch(name, device)
        with torch.no_grad():
            scores.append(model.eval().full_sort_predict(batch).cpu())
    torch.testing.assert_close(*scores, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("name", "loss_type"), LOSS_TYPES)
def test_a_step_never_waits_for_the_gpu(name, loss_type):
    model, batch = model_and_batch(name, "cuda", loss_type=loss_type)
    model.train().calculate_loss(batch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        total = step(model, batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert math.isfinite(total.item())


@pytest.mark.parametrize("name", [*MODELS, "ATSRec"])
def test_whole_runs_train_there(name):
    settings = TOY | MODELS.get(name, {"backbone": "SRGNN"}) | {"epochs": 4, "device": "cuda"}
    metrics = run(load_config(name, "toy", config_dict=settings)).read_metrics()
    on_cpu = run(load_config(name, "toy", config_dict=settings | {"device": "cpu"})).read_metrics()
    assert abs(metrics["valid"]["hit@20"] - on_cpu["valid"]["hit@20"]) < 0.15


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus_do_what_one_does():
    alone, shared = (
        run(load_config("SRGNN", "toy", config_dict=TOY | {"epochs": 4, "device": "cuda", "nproc": n})).read_metrics()
        for n in (1, 2)
    )
    assert abs(alone["valid"]["hit@20"] - shared["valid"]["hit@20"]) < 0.15
