"""check_model itself: it passes sound models and catches unsound ones, each by the right check."""

import pytest
import torch
from recbole.model.sequential_recommender.srgnn import SRGNN

from recbole_tme import testing
from recbole_tme.models.tmegnn import TMEGNN
from recbole_tme.testing import Workbench, check_model
from tests.helpers.cheats import CHEATS, MeanOfClicks

SMALL = {"embedding_size": 16, "rank_low": 3, "rank_high": 20, "negatives": 4, "dropout_prob": 0.1}


def test_a_built_in_model_of_recbole_passes():
    check_model("recbole:SRGNN")


class SearchesItsBatch(TMEGNN):
    """Mixes sessions of one batch, as models that look for neighbours in the test batch do."""

    def full_sort_predict(self, interaction):
        scores = super().full_sort_predict(interaction)
        return scores + scores.mean(0, keepdim=True)


class CountsPadding(TMEGNN):
    """Depends on the padded width."""

    def full_sort_predict(self, interaction):
        scores = super().full_sort_predict(interaction)
        width = interaction[self.ITEM_SEQ].shape[1]
        return torch.cat([scores[:, :2] * width, scores[:, 2:]], dim=1)


class LikesSmallNumbers(TMEGNN):
    """Depends on the ids of the items."""

    def full_sort_predict(self, interaction):
        return super().full_sort_predict(interaction) - torch.arange(self.n_items) / 100


class DrawsNoise(TMEGNN):
    """Draws random numbers when it predicts."""

    def full_sort_predict(self, interaction):
        scores = super().full_sort_predict(interaction)
        torch.rand(1)
        return scores


class HidesState(TMEGNN):
    """Keeps part of the model outside its state."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.offset = torch.rand(self.n_items)

    def full_sort_predict(self, interaction):
        return super().full_sort_predict(interaction) + self.offset


class HasIdleWeights(TMEGNN):
    """Owns a parameter that no loss reaches."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.idle = torch.nn.Parameter(torch.ones(3))


class DividesByLength(TMEGNN):
    """Breaks on sessions of one click."""

    def full_sort_predict(self, interaction):
        length = interaction[self.ITEM_SEQ_LEN].unsqueeze(1)
        return super().full_sort_predict(interaction) / (length - 1)


class ScoresTooFew(TMEGNN):
    """Leaves an item out."""

    def full_sort_predict(self, interaction):
        return super().full_sort_predict(interaction)[:, 1:]


@pytest.mark.parametrize(
    ("model", "check"),
    [
        (ScoresTooFew, testing.check_shapes),
        (SearchesItsBatch, testing.check_batch_mates),
        (CountsPadding, testing.check_padding),
        (LikesSmallNumbers, testing.check_relabelling),
        (DividesByLength, testing.check_extreme_sessions),
        (HasIdleWeights, testing.check_gradients),
        (DrawsNoise, testing.check_prediction_is_deterministic),
        (HidesState, testing.check_state_round_trip),
    ],
)
def test_an_unsound_model_is_caught(model, check):
    with pytest.raises(AssertionError):
        check(Workbench(model, SMALL))
    with pytest.raises(AssertionError):
        check_model(model, SMALL, learns=False)


@pytest.mark.parametrize(("cheat", "words"), CHEATS.items(), ids=[cheat.__name__ for cheat in CHEATS])
def test_a_cheating_model_is_caught_and_its_way_of_cheating_named(cheat, words):
    with pytest.raises(AssertionError, match=f"the model leaks: .*{words}"):
        check_model(cheat, {"padding": "batch"}, learns=False)


def test_dropout_and_batch_norm_are_no_leak():
    testing.check_leaks(Workbench(MeanOfClicks))


def test_a_model_that_cannot_learn_is_caught():
    with pytest.raises(AssertionError, match="toy data"):
        testing.check_learns_toy(Workbench(SRGNN), max_epochs=0)
