"""Our SRGNN against RecBole's built-in one with the same weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_tme.models.srgnn import SRGNN
from recbole_tme.testing import MAX_CLICKS, N_ITEMS, Workbench, check_model

SIZE = 16


def copy_weights(ours, theirs) -> None:
    """RecBole's weights into ours; its update gate weights the new state, ours the old one, hence the sign."""
    gru, edges = ours.propagation.cell, theirs.gnn
    sign = torch.ones(3, SIZE, 1)
    sign[1] = -1

    def gates(weight):
        return (weight.view(3, SIZE, -1) * sign).view_as(weight)

    pairs = [
        (ours.item_embedding.weight, theirs.item_embedding.weight),
        (gru.weight_ih, gates(edges.w_ih)),
        (gru.weight_hh, gates(edges.w_hh)),
        (gru.bias_ih, gates(edges.b_ih)),
        (gru.bias_hh, gates(edges.b_hh)),
        (ours.propagation.bias_in, edges.b_iah),
        (ours.propagation.bias_out, edges.b_ioh),
        (ours.readout.weight.weight, theirs.linear_three.weight),
    ]
    for mine, built_in in [
        (ours.propagation.edge_in, edges.linear_edge_in),
        (ours.propagation.edge_out, edges.linear_edge_out),
        (ours.readout.from_last, theirs.linear_one),
        (ours.readout.from_click, theirs.linear_two),
        (ours.readout.merge, theirs.linear_transform),
    ]:
        pairs += [(mine.weight, built_in.weight), (mine.bias, built_in.bias)]
    with torch.no_grad():
        for mine, built_in in pairs:
            mine.copy_(built_in)


@pytest.fixture(scope="module", params=[1, 3])
def both(request):
    wanted = {"embedding_size": SIZE, "step": request.param}
    benches = Workbench("SRGNN", wanted | {"loss_precision": "fp32"}), Workbench("recbole:SRGNN", wanted)
    ours, theirs = (bench.build() for bench in benches)
    copy_weights(ours, theirs)
    assert isinstance(ours, SRGNN) and type(theirs).__module__.startswith("recbole.")
    return benches[0], ours, theirs


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.lists(st.integers(1, N_ITEMS // 5), min_size=1, max_size=MAX_CLICKS), min_size=1, max_size=6))
def test_scores_equal_the_built_in_models_with_its_weights(both, rows):
    bench, ours, theirs = both
    bench.sessions, bench.targets = rows, [1] * len(rows)
    batch = bench.batch()
    torch.testing.assert_close(bench.scores(ours, batch), bench.scores(theirs, batch), rtol=0, atol=1e-5)


def test_loss_equals_the_built_in_models_but_for_its_padding_item(both):
    bench, ours, theirs = both
    bench.sessions, bench.targets = [[1, 2, 1], [3], [2, 2, 2, 4]], [2, 5, 1]
    with torch.no_grad():
        # RecBole's softmax runs over the padding item too; one of score -inf takes no part.
        scores = bench.scores(theirs, bench.batch())
        expected = torch.nn.functional.cross_entropy(scores, torch.tensor(bench.targets) - 1)
    torch.testing.assert_close(ours.calculate_loss(bench.batch()), expected)


def test_passes_the_common_tests():
    check_model("SRGNN", {"embedding_size": 32})
