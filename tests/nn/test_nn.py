"""Layers against loops over single nodes and clicks."""

import math

import torch
from torch.nn import functional as F

from recbole_tme.nn import gated_graph
from recbole_tme.nn.edge_attention import EdgeTypedAttention
from recbole_tme.nn.gated_graph import GatedGraphLayer
from recbole_tme.nn.graphs import Cells, session_graph, session_nodes, transition_matrix
from recbole_tme.nn.readout import LastClickReadout, ReversedPositionReadout, masked_mean, reversed_positions

ITEM_SEQ = torch.tensor([[1, 2, 1, 3, 3], [4, 0, 0, 0, 0], [5, 6, 5, 6, 0]])
LENGTHS = (ITEM_SEQ > 0).sum(1)
MASK = ITEM_SEQ > 0


def test_edge_attention_is_a_softmax_over_neighbours_by_edge_type():
    torch.manual_seed(0)
    layer = EdgeTypedAttention(4)
    graph = session_graph(ITEM_SEQ)
    states = torch.randn(3, 5, 4)
    out = layer(states, graph.relation)
    for b in range(3):
        for i in range(5):
            neighbours = [j for j in range(5) if graph.relation[b, i, j] > 0]
            energies = []
            for j in neighbours:
                weight = layer.relation_weight[graph.relation[b, i, j] - 1]
                energies.append(F.leaky_relu(weight @ (states[b, i] * states[b, j]), 0.2).item())
            total = sum(map(math.exp, energies))
            expected = sum((math.exp(e) / total * states[b, j] for e, j in zip(energies, neighbours)), torch.zeros(4))
            torch.testing.assert_close(out[b, i], expected)


def test_edge_attention_has_right_gradients():
    torch.manual_seed(0)
    layer = EdgeTypedAttention(3).double()
    graph = session_graph(ITEM_SEQ)
    states = torch.randn(3, 5, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: layer(s, graph.relation), (states,))


def gated_graph_case(size):
    """A layer whose biases are not zero, rows of the nodes, transitions and cells."""
    torch.manual_seed(0)
    layer = GatedGraphLayer(size, steps=2).double()
    for bias in (layer.bias_in, layer.bias_out):
        torch.nn.init.normal_(bias)
    nodes, alias = session_nodes(ITEM_SEQ)
    cells = Cells(nodes > 0)
    rows = torch.randn(int((nodes > 0).sum()), size, dtype=torch.double)
    return layer, rows, transition_matrix(alias, MASK), cells


def test_gated_propagation_follows_its_equations():
    layer, rows, transitions, cells = gated_graph_case(4)
    out = cells.spread(layer(rows, transitions, cells))
    states = cells.spread(rows)
    for session, edges, expected in zip(states, transitions, out):
        is_node = session.abs().sum(1) > 0
        for _ in range(2):
            messages = []
            for node in range(5):
                into = [layer.edge_in(session[u]) for u in range(5) if edges[u, node]]
                from_it = [layer.edge_out(session[u]) for u in range(5) if edges[node, u]]
                message = [sum(each) / len(each) if each else torch.zeros(4) for each in (into, from_it)]
                messages.append(torch.cat([message[0] + layer.bias_in, message[1] + layer.bias_out]))
            session = layer.cell(torch.stack(messages), session) * is_node.unsqueeze(1)
        torch.testing.assert_close(session, expected)


def test_gated_propagation_has_right_gradients():
    layer, rows, transitions, cells = gated_graph_case(3)
    assert torch.autograd.gradcheck(lambda r: layer(r, transitions, cells), (rows.requires_grad_(),))


def test_gated_propagation_in_pieces_is_that_of_all_nodes_at_once(monkeypatch):
    layer, rows, transitions, cells = gated_graph_case(4)
    whole = torch.autograd.grad(layer(rows, transitions, cells).square().sum(), list(layer.parameters()))
    monkeypatch.setattr(gated_graph, "CPU_ROWS", 2)
    parts = torch.autograd.grad(layer(rows, transitions, cells).square().sum(), list(layer.parameters()))
    torch.testing.assert_close(parts, whole)


def test_last_click_readout_follows_its_equations():
    torch.manual_seed(0)
    readout = LastClickReadout(4)
    nodes, alias = session_nodes(ITEM_SEQ)
    cells = Cells(nodes > 0)
    rows = torch.randn(int((nodes > 0).sum()), 4)
    sessions, alphas = readout(rows, cells, alias, LENGTHS, MASK)
    of_item = dict(zip(ITEM_SEQ.unique()[1:].tolist(), rows))
    for b, length in enumerate(LENGTHS.tolist()):
        clicks = [of_item[item] for item in ITEM_SEQ[b, :length].tolist()]
        summed = torch.zeros(4)
        for t, click in enumerate(clicks):
            gate = torch.sigmoid(readout.from_last(clicks[-1]) + readout.from_click(click))
            torch.testing.assert_close(alphas[b, t], readout.weight(gate)[0])
            summed = summed + alphas[b, t] * click
        torch.testing.assert_close(sessions[b], readout.merge(torch.cat([summed, clicks[-1]])))
        assert not alphas[b, length:].any()


def test_readout_follows_its_equations():
    torch.manual_seed(0)
    readout = ReversedPositionReadout(4, max_length=5)
    clicks = torch.randn(3, 5, 4)
    out, _ = readout(clicks, LENGTHS, MASK)
    position = readout.position_embedding.weight
    for b, length in enumerate(LENGTHS.tolist()):
        mean = clicks[b, :length].mean(0)
        expected = torch.zeros(4)
        for t in range(length):
            z = torch.tanh(readout.from_position(position[length - 1 - t]) + readout.from_click(clicks[b, t]))
            gate = torch.sigmoid(readout.gate_click(z) + readout.gate_mean(mean))
            expected = expected + readout.weight(gate) * clicks[b, t]
        torch.testing.assert_close(out[b], expected)


def test_readout_takes_sessions_longer_than_its_position_table():
    readout = ReversedPositionReadout(4, max_length=2)
    assert torch.isfinite(readout(torch.randn(3, 5, 4), LENGTHS, MASK)[0]).all()


def test_reversed_positions_count_back_from_the_last_click():
    assert reversed_positions(torch.tensor([3, 1]), 4).tolist() == [[2, 1, 0, 0], [0, 0, 0, 0]]


def test_masked_mean_leaves_padding_out():
    states = torch.tensor([[[2.0], [4.0], [100.0]], [[7.0], [7.0], [7.0]]])
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert masked_mean(states, mask).tolist() == [[3.0], [0.0]]
