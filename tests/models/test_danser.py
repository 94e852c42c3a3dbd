"""The DANSeR-style model: probabilities, its parts and their switches, hard negatives."""

import pytest
import torch

from recbole_tme.config.load import load_config
from recbole_tme.data.dataset import SessionDataset
from recbole_tme.evaluation.protocol import load_data
from recbole_tme.models.training_free.clicks import train_clicks
from recbole_tme.nn.miners import self_adaptive_negatives
from recbole_tme.testing import Workbench, check_model

SMALL = {
    "loss_precision": "fp32",
    "embedding_size": 16,
    "item_dropout": 0.0,
    "state_dropout": 0.0,
    "hard_candidates": 8,
}
PARTS_OFF = [
    {"field_attention": False},
    {"across_fields": False},
    {"repeat_explore": False, "neighbours": False},
    {"hard_weight": 0.0},
]


@pytest.fixture
def bench():
    return Workbench("DANSeR", SMALL)


@pytest.mark.parametrize("part_off", [{}, *PARTS_OFF], ids=str)
def test_passes_the_common_tests(part_off):
    if part_off == {"across_fields": False}:
        # Readouts of the other receptive fields must not be left idle.
        model = Workbench("DANSeR", SMALL | part_off).build()
        assert len(model.fields) == 1
    check_model("DANSeR", SMALL | part_off | {"embedding_size": 32}, learns=not part_off)


def test_probabilities_of_all_items_sum_to_one(bench):
    scores = bench.scores(bench.build(), bench.batch())
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(len(bench.sessions)))


def test_in_session_items_share_the_repeat_chance(bench):
    model, batch = bench.build(), bench.batch()
    with torch.no_grad():
        encoded = model._encode(batch)
        behaviour = model.behave(encoded)
    chances = bench.scores(model, batch).exp()
    for row, clicks in enumerate(bench.sessions):
        inside = sum(chances[row, item - 1] for item in set(clicks))
        torch.testing.assert_close(inside, behaviour.log_repeat[row].exp())
        for item in set(clicks):
            latest = max(t for t, clicked in enumerate(clicks) if clicked == item)
            chance = behaviour.log_repeat[row].exp() * behaviour.log_item[row, latest].exp()
            torch.testing.assert_close(chances[row, item - 1], chance)


# With more draws than there are items the sampled loss is the full one.
@pytest.mark.parametrize("loss", [{}, {"loss_type": "sampled", "n_sampled": 1000}], ids=["full", "sampled"])
def test_loss_is_the_likelihood_of_the_scores_plus_the_catalogue_for_repeats(bench, loss):
    bench.targets = [clicks[0] if row % 2 else 40 for row, clicks in enumerate(bench.sessions)]
    plain = Workbench("DANSeR", SMALL | loss | {"hard_weight": 0.0, "explore_temperature": 1.0, "neighbours": False})
    plain.sessions, plain.targets = bench.sessions, bench.targets
    model, batch = plain.build(), plain.batch()
    scores = plain.scores(model, batch)
    with torch.no_grad():
        encoded = model._encode(batch)
        cosines = model.scale * encoded.session @ model.item_vectors()[1:].T
    expected = 0.0
    for row, (clicks, target) in enumerate(zip(plain.sessions, plain.targets)):
        expected -= scores[row, target - 1]
        if target in clicks:
            expected -= cosines[row].log_softmax(0)[target - 1]
    torch.testing.assert_close(model.calculate_loss(batch), expected / len(plain.targets))


def test_scores_without_the_behaviour_part_are_scaled_cosines():
    bench = Workbench("DANSeR", SMALL | {"repeat_explore": False, "neighbours": False, "score_scale": 7.0})
    scores = bench.scores(bench.build(), bench.batch())
    assert scores.abs().max() <= 7.0 and not any("behaviour" in n for n, _ in bench.build().named_parameters())


def test_the_temperature_makes_new_items_more_alike_and_changes_no_chance_of_a_repeat(bench):
    hot = Workbench("DANSeR", SMALL | {"explore_temperature": 2.0, "neighbours": False})
    cold = Workbench("DANSeR", SMALL | {"explore_temperature": 1.0, "neighbours": False})
    scores = {each: each.scores(each.build(), each.batch()) for each in (hot, cold)}
    batch = hot.batch()
    assert torch.equal(hot.build().calculate_loss(batch), cold.build().calculate_loss(batch))
    for row, clicks in enumerate(hot.sessions):
        new = [item - 1 for item in range(1, 41) if item not in clicks]
        old = [item - 1 for item in set(clicks)]
        torch.testing.assert_close(scores[hot][row, old], scores[cold][row, old])
        gaps = [scores[b][row, new] - scores[b][row, new].mean() for b in (hot, cold)]
        torch.testing.assert_close(2 * gaps[0], gaps[1])
        torch.testing.assert_close(scores[hot][row].exp().sum(), torch.tensor(1.0))


def test_counts_position_and_popularity_all_reach_the_repeat_scores(bench):
    model = bench.build()
    bench.sessions, bench.targets = [[1, 2], [1, 2, 1], [2, 1]], [3, 3, 3]
    scores = bench.scores(model, bench.batch())
    odds = scores[:, 0] - scores[:, 1]
    assert len({round(odd.item(), 4) for odd in odds}) == 3
    model.session_count[1] += 5
    assert not torch.allclose(bench.scores(model, bench.batch())[:, 0], scores[:, 0])


def test_an_item_is_as_popular_as_the_other_sessions_make_it(bench):
    model, batch = bench.build(), bench.batch()
    seen = {}
    model.behaviour.register_forward_pre_hook(lambda _, args: seen.update({model.training: args[-1]}))
    model.session_count.fill_(1.0)
    model.session_count[3] = 7.0
    for training in (False, True):
        model.train(training).behave(model._encode(batch))
    clicked, is_third = batch["item_id_list"] > 0, batch["item_id_list"] == 3
    assert (seen[False][clicked & ~is_third] == 1).all() and (seen[False][is_third] == 7).all()
    assert (seen[True][clicked & ~is_third] == 0).all() and (seen[True][is_third] == 6).all()


def test_sessions_that_hold_an_item_are_counted_once_each():
    config = load_config("DANSeR", "toy", config_dict={"device": "cpu"})
    train = SessionDataset(config, load_data(config)).build()[0]
    clicks = train_clicks(train, *(config[key] for key in ("USER_ID_FIELD", "ITEM_ID_FIELD")), "", "")
    model = config.model_class(config, train)
    for item in (1, 5, 9):
        sessions = [clicks.items[a:b].tolist() for a, b in zip(clicks.offsets, clicks.offsets[1:])]
        assert model.session_count[item] == sum(item in session for session in sessions) > 0


def test_negative_is_the_allowed_candidate_closest_to_the_wanted_hardness():
    torch.manual_seed(0)
    candidates, target = torch.rand(50, 6) * 2 - 1, torch.rand(50) * 2 - 1
    allowed = torch.rand(50, 6) < 0.7
    allowed[:, 0] = True
    chosen = self_adaptive_negatives(candidates, target, allowed, alpha=1.0, beta=0.1, power=-2.0)
    for row in range(50):
        wanted = 0.1 * max(target[row].item() + 1.0, 1e-3) ** -1
        options = [column for column in range(6) if allowed[row, column]]
        assert chosen[row] == min(options, key=lambda column: abs(candidates[row, column].item() - wanted))


def test_wanted_hardness_falls_as_the_targets_score_rises():
    candidates = torch.linspace(-1, 1, 201).repeat(2, 1)
    chosen = self_adaptive_negatives(
        candidates, torch.tensor([-0.5, 0.9]), torch.ones(2, 201, dtype=torch.bool), 1.0, 0.1, -2.0
    )
    assert candidates[0, chosen[0]] > candidates[1, chosen[1]]


def test_hard_negatives_push_themselves_down_and_the_target_up(bench):
    model, batch = bench.build(), bench.batch()
    torch.manual_seed(0)
    before = model.hard_negative_loss(model._encode(batch), batch["item_id"])
    before.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.01 * parameter.grad
    torch.manual_seed(0)
    model._encode(batch)
    after = model.hard_negative_loss(model._encode(batch), batch["item_id"])
    assert after < before


def test_item_vectors_are_made_once_in_evaluation_and_follow_the_weights(bench):
    model, batch = bench.build().eval(), bench.batch()
    with torch.no_grad():
        before = model.full_sort_predict(batch)
        assert model.item_vectors() is model.item_vectors()
        assert torch.equal(model.full_sort_predict(batch), before)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    model.calculate_loss(batch).backward()
    optimizer.step()
    with torch.no_grad():
        after = model.eval().full_sort_predict(batch)
        assert not torch.equal(after, before) and torch.equal(after, made_anew(bench, model, batch))
        # Written past all bookkeeping, and seen because evaluation starts again.
        model.item_embedding.weight.data[3] = 1.0
        assert torch.equal(model.eval().full_sort_predict(batch), made_anew(bench, model, batch))


def made_anew(bench, model, batch):
    """Scores of another model with the same weights."""
    fresh = bench.build().eval()
    fresh.load_state_dict(model.state_dict())
    return fresh.full_sort_predict(batch)


@pytest.mark.parametrize(
    "part_off", [{}, {"neighbours": False}, {"repeat_explore": False, "neighbours": False}], ids=str
)
def test_scores_of_all_items_found_are_those_of_the_catalogue(part_off):
    bench = Workbench("DANSeR", SMALL | part_off)
    model, batch = bench.build().eval(), bench.batch()
    with torch.no_grad():
        encoded = model.encoded(batch[model.ITEM_SEQ], batch[model.ITEM_SEQ_LEN])
        products = (model.query_vectors(encoded) @ model.item_vectors().T)[:, 1:]
        items = torch.arange(1, model.n_items).expand(len(products), -1)
        own = (items.unsqueeze(2) == encoded.item_seq.unsqueeze(1)).any(2)
        others = products.masked_fill(own, -torch.inf).logsumexp(1)
        found, scores = model.score_found(encoded, items, products, others if model.normalised else None)
        wanted = model.score_catalogue(encoded)
    for row, of_row, of_catalogue in zip(found, scores, wanted):
        there = of_row > -torch.inf
        assert sorted(row[there].tolist()) == list(range(1, model.n_items))
        torch.testing.assert_close(of_row[there], of_catalogue[row[there]])


def test_a_frozen_model_predicts_the_same(bench):
    model, batch = bench.build().eval(), bench.batch()
    with torch.no_grad():
        wanted = model.full_sort_predict(batch)[:, 1:]
        model.freeze()
        torch.testing.assert_close(model.full_sort_predict(batch)[:, 1:], wanted)
