"""DANSeR's neighbours: whose they are, what learns from whom, and that every way to a score gives the same."""

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_tme.config.load import load_config
from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.sessions import PAD_TOKEN, SessionData, Sessions
from recbole_tme.data.synthetic import toy
from recbole_tme.errors import UserError
from recbole_tme.models.neighbour_part import HELD_OUT, SAMPLE_SIZE, SMOOTHNESS
from recbole_tme.models.training_free.clicks import session_numbers, train_clicks
from recbole_tme.testing import N_ITEMS, Workbench

SMALL = {"loss_precision": "fp32", "embedding_size": 16, "item_dropout": 0.0, "state_dropout": 0.0}
IDS = "session_id", "item_id", "item_id_list", "item_length"


@pytest.fixture
def bench():
    return Workbench("DANSeR", SMALL)


def with_weights(model):
    """The model with weights of neighbours that differ between sessions."""
    with torch.no_grad():
        for parameter in model.neighbours.mixture.parameters():
            parameter.add_(torch.linspace(-0.5, 0.6, parameter.numel()).view(parameter.shape))
    return model


def config_and_training_data(data=None):
    config = load_config("DANSeR", "toy", config_dict={"device": "cpu"} | SMALL)
    return config, SessionDataset(config, data or toy()).build()[0]


def test_chances_sum_to_one_and_repeated_items_share_the_chance_of_a_repeat(bench):
    model = with_weights(bench.build())
    scores = bench.scores(model, bench.batch())
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(len(bench.sessions)))
    with torch.no_grad():
        repeat = model.behave(model._encode(bench.batch())).log_repeat.exp()
    for row, clicks in enumerate(bench.sessions):
        torch.testing.assert_close(scores[row].exp()[[i - 1 for i in set(clicks)]].sum(), repeat[row])


def test_new_items_get_what_the_neighbours_say_times_their_weight(bench):
    model, batch = with_weights(bench.build()), bench.batch()
    scores = bench.scores(model, batch).exp()
    with torch.no_grad():
        encoded, found = model._encode(batch), model.neighbours.find(batch[IDS[2]], batch[IDS[3]])
        cosines = model.query_vectors(encoded) @ model.item_vectors()[1:].T
        share = model.neighbours.index.scores(found.neighbours, len(batch))[:, 1:]
        explore = model.behave(encoded).log_explore.exp()
        for row, clicks in enumerate(bench.sessions):
            new = torch.tensor([item - 1 for item in range(1, N_ITEMS + 1) if item not in clicks])
            own = cosines[row, new].softmax(0)
            facts = type(found.facts)(*(fact[[row]] for fact in found.facts))
            weight = model.neighbours.mixture(facts, own.max().log().unsqueeze(0))[0].exp()
            assert (weight > 0) == (found.facts.mass[row] > 0)
            of_neighbours = share[row, new] / share[row, new].sum().clamp(min=1e-9)
            torch.testing.assert_close(scores[row, new], explore[row] * ((1 - weight) * own + weight * of_neighbours))


def test_of_a_training_session_nothing_is_its_own_neighbour_while_training(bench):
    config, train = config_and_training_data()
    model = config.model_class(config, train)
    seen = []
    find = model.neighbours.index.find
    model.neighbours.index.find = lambda item_seq, own: seen.append((own, find(item_seq, own))) or seen[-1][1]
    clicks = train_clicks(train, *IDS)
    for start in range(0, len(train), 200):
        model.train().calculate_loss(train.inter_feat[slice(start, start + 200)])
    assert sum(len(found.row) for _, found in seen) > 0
    for own, found in seen:
        assert (own >= 0).all() and (own[found.row] != found.session).all()
    # The numbers are those of the sessions that the instances come from.
    rows = train.inter_feat[torch.arange(len(train))]
    own = model.neighbours.own_sessions(rows["session_id"])
    for prefix, length, target, number in zip(rows[IDS[2]], rows[IDS[3]], rows[IDS[1]], own):
        session = clicks.items[clicks.offsets[number] : clicks.offsets[number + 1]].tolist()
        assert session[: length + 1] == [*prefix[:length].tolist(), target]


def test_sessions_held_out_teach_the_neighbours_part_only_and_the_others_all_the_rest():
    config, train = config_and_training_data()
    model = config.model_class(config, train).train()
    own = model.neighbours.own_sessions(train.inter_feat["session_id"])
    held_out = own % HELD_OUT == HELD_OUT // 4
    assert 0 < held_out.float().mean() < 0.1
    for rows, of_mixture in ((held_out, True), (~held_out, False)):
        model.zero_grad()
        torch.manual_seed(0)
        model.calculate_loss(train.inter_feat[rows]).backward()
        for name, parameter in model.named_parameters():
            if "habit" in name:
                # No target of the toy data is in its session.
                continue
            learns = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
            assert learns == (of_mixture == ("neighbours" in name)), name


def test_what_is_learned_from_a_session_held_out_is_the_smooth_rank_of_its_targets():
    config, train = config_and_training_data()
    model = with_weights(config.model_class(config, train))
    with torch.no_grad():
        # Without the session, those after it would be younger by one.
        model.neighbours.index.learned.copy_(torch.tensor([0.0, 0.3, -0.1]))
    own = model.neighbours.own_sessions(train.inter_feat["session_id"])
    rows = train.inter_feat[(own == HELD_OUT // 4)]
    number = own[own == HELD_OUT // 4][0]
    # Another model, of the other sessions only, predicts what the first learns from.
    clicks, ids = train_clicks(train, *IDS), train.inter_feat["session_id"]
    kept = [n for n in range(clicks.n_sessions) if n != number]
    parts = [clicks.items[clicks.offsets[n] : clicks.offsets[n + 1]] for n in kept]
    others = Sessions(
        np.concatenate(parts), np.append(0, np.cumsum([len(p) for p in parts])), np.array(kept).astype(str)
    )
    data = toy()
    _, train_others = config_and_training_data(
        SessionData("toy", train=others, test=data.test, valid=data.valid, tokens=data.tokens)
    )
    model_others = config.model_class(config, train_others).eval()
    of_data = ("items", "item_starts", "sessions", "session_starts", "session_count")
    state = {k: v for k, v in model.state_dict().items() if k.rpartition(".")[2] not in of_data}
    model_others.load_state_dict(model_others.state_dict() | state)
    with torch.no_grad():
        scores = model_others.full_sort_predict(rows)
        wanted = []
        for row, clicks, target in zip(scores, rows[IDS[2]], rows[IDS[1]]):
            others = [i for i in range(1, len(row)) if i != target and i not in clicks]
            wanted.append((1 + torch.sigmoid((row[others] - row[target]) / SMOOTHNESS).sum()).log())
        encoded = model.train()._encode(rows)
        assert not (rows[IDS[2]] == rows[IDS[1]].unsqueeze(1)).any() and len(ids) > len(rows)
        torch.testing.assert_close(model.held_out_loss(encoded, rows[IDS[1]]), torch.stack(wanted).mean())


def test_an_index_of_vectors_and_the_neighbours_find_the_best_items_whatever_the_index_found(bench):
    model, batch = with_weights(bench.build()), bench.batch()
    with torch.no_grad():
        encoded = model._encode(batch)
        wanted = model.score_catalogue(encoded)
        products = model.query_vectors(encoded) @ model.item_vectors().T
        own = (torch.arange(N_ITEMS + 1) == encoded.item_seq.unsqueeze(2)).any(1)
        own[:, 0] = True
        log_others = products.masked_fill(own, -torch.inf).logsumexp(1)
        best = products.masked_fill(own, -torch.inf).topk(5).indices
        items, scores = model.score_found(encoded, best, products.gather(1, best), log_others)
    for row, of_row, of_catalogue in zip(items, scores, wanted):
        there = of_row > -torch.inf
        assert len(set(row[there].tolist())) == there.sum()
        torch.testing.assert_close(of_row[there], of_catalogue[row[there]])
        assert set(row[there][of_row[there].topk(5).indices].tolist()) == set(
            of_catalogue[1:].topk(5).indices.add(1).tolist()
        )


def test_neighbours_need_the_behaviour_part():
    with pytest.raises(UserError, match="neighbours: True"):
        Workbench("DANSeR", SMALL | {"repeat_explore": False}).build()


class Rows(dict):
    """RecBole's table of rows."""


class StockDataset:
    """What the two functions read of RecBole's own data set."""

    time_field = "timestamp"

    def __init__(self, rows):
        width = max(len(prefix) for _, prefix, _ in rows)
        table = pd.DataFrame(rows, columns=["session", "prefix", "target"])
        self.inter_feat = Rows(
            session_id=torch.tensor(table.session.tolist()),
            item_id=torch.tensor(table.target.tolist()),
            item_id_list=torch.tensor([prefix + [0] * (width - len(prefix)) for prefix in table.prefix]),
            item_length=torch.tensor([len(prefix) for prefix in table.prefix]),
        )

    def num(self, field):
        return 10


# RecBole's two ways to number the prefixes of sessions [1, 2, 3] and [4, 5]: by session, and each on its own.
@pytest.mark.parametrize(
    "ids, expected", [([1, 1, 2], [0, 0, 1]), ([1, 2, 3], [0, 0, 1])], ids=["by session", "every row"]
)
def test_rows_of_recbole_belong_to_the_sessions_they_are_prefixes_of(ids, expected):
    rows = list(zip(ids, ([1, 2], [1], [4]), (3, 2, 5)))
    dataset = StockDataset(rows)
    clicks = train_clicks(dataset, *IDS)
    assert [clicks.items[a:b].tolist() for a, b in zip(clicks.offsets, clicks.offsets[1:])] == [[1, 2, 3], [4, 5]]
    assert session_numbers(dataset, *IDS)[ids].tolist() == expected
    assert PAD_TOKEN and session_numbers(dataset, *IDS)[9] == -1


def test_the_neighbours_scores_are_those_of_the_baseline_of_the_same_kind():
    settings = {"idf_power": 2.0, "norm_power": 0.5, "k": 1000, "sample_size": SAMPLE_SIZE}
    bench, baseline = Workbench("DANSeR", SMALL), Workbench("SKNN", settings)
    with torch.no_grad():
        model, batch = bench.build(), bench.batch()
        index = model.neighbours.index
        index.learned.zero_()
        mine = index.scores(index.find(batch[IDS[2]]), len(batch))
    wanted = baseline.scores(baseline.build(), batch)
    # The baseline puts equal scores in order by a change of a hundred-thousandth.
    torch.testing.assert_close(mine[:, 1:], wanted, rtol=3e-5, atol=1e-4)
