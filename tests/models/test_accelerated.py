"""RecBole's models in a quicker form, against RecBole's own code, number for number."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from recbole.model.sequential_recommender import GCSAN, SRGNN, gcsan, srgnn

from recbole_tme.config.load import load_config
from recbole_tme.experiment.run import run
from recbole_tme.models.builtin.accelerated import accelerated, connect_graphs
from recbole_tme.models.builtin.discovery import PLAIN_SOFTMAX
from recbole_tme.testing import Workbench

MAX_LENGTH = 9


class Asked:
    """All that RecBole's ``_get_slice`` asks of its model."""

    device = "cpu"


sessions = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=MAX_LENGTH), min_size=1, max_size=5)


@given(sessions, st.integers(0, 3))
@pytest.mark.parametrize(("model_class", "with_mask"), [(SRGNN, True), (GCSAN, False)])
def test_graphs_are_recboles(model_class, with_mask, clicks, more_padding):
    width = max(map(len, clicks)) + more_padding
    batch = torch.tensor([session + [0] * (width - len(session)) for session in clicks])
    expected = model_class._get_slice(Asked, batch)
    found = connect_graphs(batch, with_mask)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("recbole:SRGNN", {}),
        ("recbole:GCSAN", {}),
        ("ATSRec", {"backbone": "recbole:SRGNN"}),
        ("ATSRec", {"backbone": "GCSAN"}),
    ],
)
def test_a_run_trains_and_ranks_without_the_loops(monkeypatch, tmp_path, name, settings):
    for module in (gcsan, srgnn):
        monkeypatch.setattr(module, "np", None)
    bench = Workbench(name, settings)
    with pytest.raises(AttributeError, match="unique"):
        bench.scores(bench.build(), bench.batch())
    quick = {"epochs": 1, "device": "cpu", "show_progress": False, "run_dir": str(tmp_path)}
    assert run(load_config(name, "toy", config_dict=quick | settings)).finished


@torch.no_grad()
@pytest.mark.parametrize("name", PLAIN_SOFTMAX)
def test_scores_are_recboles_to_the_last_bit(name):
    bench = Workbench(f"recbole:{name}")
    model, batch = bench.build(), bench.batch()
    expected = model.full_sort_predict(batch)
    quick = accelerated(model)
    assert "full_sort_predict" in vars(quick)
    assert torch.equal(quick.full_sort_predict(batch), expected)
    copied = copy.deepcopy(quick)
    quick.item_embedding.weight.zero_()
    assert torch.equal(copied.full_sort_predict(batch), expected), "a copy scores with its own weights"


def test_a_plugins_own_graphs_stay():
    class Other(srgnn.SRGNN):
        def _get_slice(self, item_seq):
            raise NotImplementedError

    model = Other.__new__(Other)
    assert accelerated(model)._get_slice.__func__ is Other._get_slice
