"""What a model says its scores rest on, against the equations read click by click."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_tme.models.base import SessionRecommender
from recbole_tme.nn.dual_attention import HopReadout
from recbole_tme.nn.graphs import nodes_to_clicks
from recbole_tme.nn.readout import LastClickReadout, last_click
from recbole_tme.testing import MAX_CLICKS, N_ITEMS, Workbench

SMALL = {"embedding_size": 16, "loss_precision": "fp32"}
MODELS = {
    "SRGNN": {},
    "TMEGNN": {},
    "TMEGNNDP": {},
    "ATSRec": {"backbone": "SRGNN"},
    "DANSeR": {"n_layers": 2},
    "DANSeR without attention in fields": {"field_attention": False},
    "DANSeR without attention across fields": {"across_fields": False},
    "DANSeR without the behaviour": {"repeat_explore": False, "neighbours": False},
}


def bench_of(name) -> Workbench:
    return Workbench(name.split()[0], SMALL | MODELS[name])


@pytest.fixture(scope="module", params=MODELS)
def bench_and_model(request):
    bench = bench_of(request.param)
    return bench, bench.build()


@torch.no_grad()
def explained(bench, model, width=MAX_CLICKS):
    batch = bench.batch(width=width)
    return model.explain(batch[model.ITEM_SEQ], batch[model.ITEM_SEQ_LEN])


def clicks_read(readout, model, session):
    """The states that a readout of the model gets for a session, ``[1, l, d]``."""
    seen = []
    by_node = isinstance(readout, LastClickReadout)
    method = "read" if isinstance(readout, HopReadout) else "forward"
    original = getattr(readout, method)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readout, method, lambda *given: (seen.append(given), original(*given))[1])
        model.encode(torch.tensor([session]), torch.tensor([len(session)]))
    if by_node:
        nodes, cells, alias, *_ = seen[0]
        return nodes_to_clicks(cells.spread(nodes), alias)
    return seen[0][0]


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.lists(st.integers(1, N_ITEMS), min_size=1, max_size=MAX_CLICKS), min_size=1, max_size=5))
def test_weights_add_up_to_one_over_the_clicks_and_padding_has_none(bench_and_model, rows):
    bench, model = bench_and_model
    bench.sessions, bench.targets = rows, [1] * len(rows)
    found = explained(bench, model)
    clicked = bench.batch()[model.ITEM_SEQ] > 0
    for weights in [found.attention, *([] if found.hop_attention is None else found.hop_attention.unbind(1))]:
        assert (weights >= 0).all() and (weights[~clicked] == 0).all()
        torch.testing.assert_close(weights.sum(1), torch.ones(len(rows)))
    if found.hops is not None:
        assert (found.hops > 0).all() and found.hop_attention.shape[:2] == found.hops.shape
        torch.testing.assert_close(found.hops.sum(1), torch.ones(len(rows)))
        for row in range(len(rows)):
            mixed = sum(share * within for share, within in zip(found.hops[row], found.hop_attention[row]))
            torch.testing.assert_close(found.attention[row], mixed)


def test_padding_and_batch_mates_change_nothing(bench_and_model):
    bench, model = bench_and_model
    bench.sessions, bench.targets = [[3, 1, 3], [2], [5, 6, 7, 8]], [1, 1, 1]
    together = explained(bench, model)
    for row, session in enumerate(bench.sessions):
        with torch.no_grad():
            alone = model.explain(torch.tensor([session]), torch.tensor([len(session)]))
        torch.testing.assert_close(together.attention[row, : len(session)], alone.attention[0])
        if alone.repeat is not None:
            torch.testing.assert_close(together.repeat[row], alone.repeat[0])


def test_the_chance_of_a_repeat_is_that_of_the_scores():
    bench = bench_of("DANSeR")
    model = bench.build()
    chances, found = bench.scores(model, bench.batch()).exp(), explained(bench, model)
    for row, clicks in enumerate(bench.sessions):
        inside = sum(chances[row, item - 1] for item in set(clicks))
        assert 0 <= found.repeat[row] <= 1
        torch.testing.assert_close(found.repeat[row], inside)


@torch.no_grad()
@pytest.mark.parametrize("name", ["SRGNN", "TMEGNN"])
def test_a_graph_models_attention_is_the_one_its_scores_are_made_with(name):
    bench = bench_of(name)
    model = bench.build()
    readout, found = model.readout, explained(bench, model)
    scores = bench.scores(model, bench.batch())
    for row, session in enumerate(bench.sessions):
        clicks = clicks_read(readout, model, session)[0]
        weights = []
        for t, click in enumerate(clicks):
            if name == "SRGNN":
                gate = torch.sigmoid(readout.from_last(clicks[-1]) + readout.from_click(click))
            else:
                position = readout.position_embedding.weight[len(session) - 1 - t]
                z = torch.tanh(readout.from_position(position) + readout.from_click(click))
                gate = torch.sigmoid(readout.gate_click(z) + readout.gate_mean(clicks.mean(0)))
            weights.append(readout.weight(gate).item())
        vector = sum(weight * click for weight, click in zip(weights, clicks))
        if name == "SRGNN":
            vector = readout.merge(torch.cat([vector, clicks[-1]]))
        torch.testing.assert_close(scores[row], model.item_embedding.weight[1:] @ vector)
        total = sum(map(abs, weights))
        wanted = torch.tensor([abs(weight) / total for weight in weights])
        torch.testing.assert_close(found.attention[row, : len(session)], wanted)


@torch.no_grad()
def test_both_attentions_of_danser_are_the_ones_its_scores_are_made_with():
    bench = Workbench("DANSeR", SMALL | {"n_layers": 2, "repeat_explore": False, "neighbours": False})
    model = bench.build()
    found, scores = explained(bench, model), bench.scores(model, bench.batch())
    for row, session in enumerate(bench.sessions):
        raw = model.unit_vectors(torch.tensor(session))
        vectors, energies = [], []
        for k, readout in enumerate(model.fields):
            clicks = clicks_read(readout, model, session)[0]
            context = readout.from_last(clicks[-1]) + readout.from_mean(clicks.mean(0))
            weights = [readout.weight(torch.sigmoid(readout.from_click(x) + context)).item() for x in clicks]
            total = sum(map(abs, weights))
            wanted = torch.tensor([abs(weight) / total for weight in weights])
            torch.testing.assert_close(found.hop_attention[row, k, : len(session)], wanted)
            pooled = sum(weight * x for weight, x in zip(weights, clicks))
            vectors.append(readout.merge(torch.cat([pooled, clicks[-1]])))
            across = model.across
            hidden = torch.tanh(across.from_field(vectors[-1]) + across.from_mean(raw.mean(0)))
            energies.append(across.weight(hidden).item())
        shares = torch.tensor(energies).softmax(0)
        torch.testing.assert_close(found.hops[row], shares)
        vector = sum(share * u for share, u in zip(shares, vectors))
        wanted = model.scale * model.item_vectors()[1:] @ (vector / vector.norm())
        torch.testing.assert_close(scores[row], wanted)


def test_without_attention_in_the_fields_every_click_counts_alike():
    bench = bench_of("DANSeR without attention in fields")
    found = explained(bench, bench.build())
    for row, session in enumerate(bench.sessions):
        torch.testing.assert_close(found.attention[row, : len(session)], torch.full((len(session),), 1 / len(session)))


def test_a_model_without_weights_shows_none():
    class Last(SessionRecommender):
        def encode(self, item_seq, item_seq_len):
            return last_click(self.item_embedding(item_seq), item_seq_len)

    bench = Workbench(Last, SMALL)
    assert explained(bench, bench.build()) is None
