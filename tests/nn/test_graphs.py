"""The session graph against a slow reading of its definition."""

import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_tme.nn.graphs import BOTH, IN, NO_EDGE, OUT, SELF, Cells, nodes_to_clicks, session_graph, session_nodes

sessions = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=9), min_size=1, max_size=5)


def pad(rows, width=None):
    width = width or max(map(len, rows))
    return torch.tensor([row + [0] * (width - len(row)) for row in rows])


def relation_between(session, row_item, column_item):
    """Relation code of two items by looking at every pair of consecutive clicks."""
    if row_item == column_item:
        return SELF
    steps = list(itertools.pairwise(session))
    out, into = (row_item, column_item) in steps, (column_item, row_item) in steps
    return {(True, True): BOTH, (True, False): OUT, (False, True): IN, (False, False): NO_EDGE}[out, into]


@given(sessions)
def test_relations_follow_the_definition(rows):
    graph = session_graph(pad(rows))
    for nodes, relation, session in zip(graph.nodes.tolist(), graph.relation.tolist(), rows):
        assert sorted(node for node in nodes if node) == sorted(set(session))
        for i, row_item in enumerate(nodes):
            for j, column_item in enumerate(nodes):
                wanted = relation_between(session, row_item, column_item) if row_item and column_item else NO_EDGE
                assert relation[i][j] == wanted


@given(sessions)
def test_each_click_finds_its_own_item(rows):
    item_seq = pad(rows)
    nodes, alias = session_nodes(item_seq)
    clicks = nodes_to_clicks(nodes.unsqueeze(-1).float(), alias).squeeze(-1).long()
    assert torch.equal(clicks * (item_seq > 0), item_seq)
    assert not alias[item_seq == 0].any()


@given(sessions, st.integers(1, 4))
def test_padding_adds_no_node_and_no_edge(rows, extra):
    width = max(map(len, rows))
    narrow, wide = session_graph(pad(rows)), session_graph(pad(rows, width + extra))
    assert torch.equal(wide.nodes[:, :width], narrow.nodes) and not wide.nodes[:, width:].any()
    assert torch.equal(wide.relation[:, :width, :width], narrow.relation)
    assert not wide.relation[:, width:].any() and not wide.relation[:, :, width:].any()


def test_cells_leave_out_what_is_empty_and_put_the_rest_back():
    torch.manual_seed(0)
    occupied, states = torch.rand(3, 5) < 0.6, torch.randn(3, 5, 4)
    cells, on_gpu = Cells(occupied), Cells(occupied)
    # What it is on a GPU, where nothing is left out.
    on_gpu.index = None
    assert torch.equal(cells.pack(states), states[occupied]) and len(on_gpu.pack(states)) == 15
    sessions = torch.randn(3, 4)
    for each in (cells, on_gpu):
        assert torch.equal(each.spread(each.pack(states)), states * occupied.unsqueeze(2))
        assert torch.equal(each.spread(each.repeat(sessions)), sessions.unsqueeze(1) * occupied.unsqueeze(2))
