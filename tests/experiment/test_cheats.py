"""Every way of cheating is caught by ``leakcheck`` and called what it is; honest models pass."""

import pytest
import torch

from recbole_tme.config.load import load_config
from recbole_tme.data.locate import locate
from recbole_tme.evaluation.protocol import load_data
from recbole_tme.experiment.leakcheck import check_leaks, report
from recbole_tme.experiment.loading import build_model
from tests.helpers.cheats import CHEATS, MeanOfClicks

SETTINGS = {"show_progress": False, "device": "cpu", "eval_batch_size": 32, "MAX_ITEM_LIST_LENGTH": 8}


def checked(model, **settings):
    config = load_config(model, "toy", config_dict=SETTINGS | settings)
    data = load_data(config)
    built, loaders = build_model(config, data)
    return check_leaks(built.eval(), loaders, config, data, instances=64), config


@pytest.mark.parametrize(("cheat", "words"), CHEATS.items(), ids=[cheat.__name__ for cheat in CHEATS])
def test_every_cheat_is_caught_and_named(cheat, words):
    found, config = checked(cheat, data_path=str(locate("toy", "nowhere").parent))
    assert found.leaks and words in found.leak, found.leak
    assert report(found, config).splitlines()[-1] == f"LEAKS: {found.leak}"


def test_dropout_and_batch_norm_are_no_leak_where_a_model_is_in_evaluation_mode():
    found, _ = checked(MeanOfClicks)
    assert found.leak is None
    assert max(moves.max() for moves in found.moved.values()) < 1e-6


class KeepsAGenerator(MeanOfClicks):
    """Cannot be copied."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.stream = (row for row in range(3))


def test_a_model_that_cannot_be_copied_is_built_again():
    found, _ = checked(KeepsAGenerator)
    assert found.leak is None


class CountsTheRest(MeanOfClicks):
    """Takes every click that the data set object leads to for training data, whatever split it is of."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        clicks = dataset.inter_feat.clicks.untyped_storage()
        everything = torch.tensor([], dtype=torch.int32).set_(clicks)
        self.register_buffer("counts", torch.bincount(everything.long(), minlength=self.n_items).float())

    def full_sort_predict(self, interaction):
        return self.scores(interaction) + self.counts


def test_the_data_set_object_of_a_model_holds_the_training_clicks_alone():
    config = load_config(CountsTheRest, "toy", config_dict=SETTINGS)
    data = load_data(config)
    built, _ = build_model(config, data)
    session, _ = data.train.instances()
    assert built.counts[1:].sum() == data.train.offsets[session.max() + 1] - data.train.offsets[session.min()]
    found, _ = checked(CountsTheRest)
    assert found.leak is None
