"""Dynamic perturbations: sign, independence, schedule, and both objectives."""

import math

import pytest
import torch
from torch.nn import functional as F

from recbole_tme.nn.self_supervised import discriminate, dynamic_noise, info_nce, shuffled
from recbole_tme.testing import Workbench, check_model

SMALL = {
    "loss_precision": "fp32",
    "embedding_size": 16,
    "rank_low": 3,
    "rank_high": 20,
    "negatives": 4,
    "dropout_prob": 0.0,
}


def vectors(rows=6, size=8, seed=0):
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("epoch", "norm"), [(0, 0.0693), (19, 0.3045)])
def test_noise_has_the_norm_of_its_epoch_and_keeps_signs(epoch, norm):
    noise = dynamic_noise(vectors(), torch.tensor(epoch), scale=0.1)
    assert noise.norm(dim=1).tolist() == pytest.approx([norm] * 6, abs=1e-3)
    assert norm == pytest.approx(0.1 * math.log(epoch + 2), abs=1e-3)
    assert ((noise == 0) | (noise.sign() == vectors().sign())).all()


def test_perturbing_changes_no_session_vector_and_views_are_independent():
    session = vectors().requires_grad_()
    before = session.detach().clone()
    first, second = (session + dynamic_noise(session, torch.tensor(3), 0.1) for _ in range(2))
    assert torch.equal(session, before)
    assert not torch.equal(first, second) and not torch.equal(first, session)
    noise = (first - session).detach()
    assert not torch.allclose(noise[0].abs(), noise[1].abs()), "each session draws its own noise"


def test_shuffled_permutes_rows_then_columns():
    original = torch.arange(12.0).view(3, 4)
    torch.manual_seed(1)
    corrupted = shuffled(original)
    assert sorted(corrupted.flatten().tolist()) == sorted(original.flatten().tolist())
    # Whole columns move together, so rows keep their sets of values.
    assert sorted(map(sorted, corrupted.tolist())) == original.tolist()
    assert not torch.equal(corrupted, original)


def test_discriminate_is_its_formula():
    s, view, corrupted = vectors(seed=1), vectors(seed=2), vectors(seed=3)
    total = 0.0
    for i in range(6):
        total -= math.log(torch.sigmoid(s[i] @ view[i])) + math.log(1 - torch.sigmoid(view[i] @ corrupted[i]))
    assert discriminate(s, view, corrupted).item() == pytest.approx(total / 6, rel=1e-5)


def test_one_gradient_step_on_the_task_alone_raises_agreement():
    # Short vectors: with long ones both views agree already and the corrupted one is all that is left to learn.
    session = (0.3 * vectors()).requires_grad_()
    torch.manual_seed(0)
    noise, corrupted = dynamic_noise(session, torch.tensor(0), 0.1), shuffled(session.detach())
    discriminate(session, session + noise, corrupted).backward()
    moved = session.detach() - 0.05 * session.grad
    agreement = [(s * (s + noise)).sum(1).mean() for s in (session.detach(), moved)]
    assert agreement[1] > agreement[0]


def test_info_nce_is_cross_entropy_over_the_other_sessions_both_ways():
    first, second = vectors(seed=1), vectors(seed=2)
    session_id = torch.tensor([1, 1, 2, 3, 3, 3])
    same = session_id.unsqueeze(0) == session_id.unsqueeze(1)
    total = 0.0
    for a, b in ((first, second), (second, first)):
        for i in range(6):
            candidates = [i, *(j for j in range(6) if session_id[j] != session_id[i])]
            scores = torch.stack([F.cosine_similarity(a[i], b[j], dim=0) / 0.2 for j in candidates])
            total -= scores.log_softmax(0)[0].item() / 12
    assert info_nce(first, second, same, 0.2).item() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("objective", ["discriminate", "info_nce"])
def test_passes_the_common_tests(objective):
    check_model(
        "TMEGNNDP", SMALL | {"ssl_objective": objective, "embedding_size": 32}, learns=objective == "discriminate"
    )


@pytest.mark.parametrize("objective", ["discriminate", "info_nce"])
def test_the_task_is_added_with_a_plus_sign_and_its_weight(objective):
    bench = Workbench("TMEGNNDP", SMALL | {"ssl_objective": objective, "ssl_weight": 0.5})
    model = bench.build()
    losses = model.losses(bench.batch())
    assert set(losses) == {"recommendation", "triplet", "ssl"} and losses["ssl"] > 0
    torch.manual_seed(0)
    total = model.calculate_loss(bench.batch())
    torch.manual_seed(0)
    assert total == sum(model.losses(bench.batch()).values())
    torch.manual_seed(0)
    encoded = model._encode(bench.batch())
    unweighted = model.ssl_loss(encoded)
    model.ssl_weight, model.triplet_weight = 2.0, 0.0
    torch.manual_seed(0)
    torch.testing.assert_close(model.auxiliary_losses(encoded, None)["ssl"], 2 * unweighted)


def test_without_the_task_it_is_tmegnn():
    settings = SMALL | {"ssl_weight": 0.0}
    bench, plain = Workbench("TMEGNNDP", settings), Workbench("TMEGNN", SMALL)
    torch.manual_seed(0)
    ours = bench.build().calculate_loss(bench.batch())
    torch.manual_seed(0)
    assert torch.equal(ours, plain.build().calculate_loss(plain.batch()))


def test_the_epoch_is_part_of_the_state_and_drives_the_noise():
    bench = Workbench("TMEGNNDP", SMALL)
    model = bench.build()
    model.begin_epoch(7)
    other = bench.build()
    other.load_state_dict(model.state_dict())
    assert other.epoch == 7
    session = vectors()
    early, late = (dynamic_noise(session, torch.tensor(t), 0.1).norm() for t in (0, 7))
    assert late > early
