"""Settings of the session data set: length, field names, padding; what it counts, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.plain_config import PlainConfig, as_data
from helpers.stock_recbole import make_sessions

from recbole_tme.data.dataset import SessionDataset
from recbole_tme.data.prefixes import resolve_padding
from recbole_tme.data.sessions import Sessions
from recbole_tme.errors import UserError
from recbole_tme.models import registry


def test_only_the_most_recent_clicks_are_kept():
    data = as_data(make_sessions([[1, 2, 3, 4, 5]], "s"))
    test = SessionDataset(PlainConfig(MAX_ITEM_LIST_LENGTH=2), data).build()[2]
    assert test[[0, 1, 3]]["item_id_list"].tolist() == [[3, 4], [2, 3], [1, 0]]


def test_other_field_names():
    config = PlainConfig(
        USER_ID_FIELD="visit", ITEM_ID_FIELD="product", LIST_SUFFIX="_past", ITEM_LIST_LENGTH_FIELD="n"
    )
    dataset = SessionDataset(config, as_data(make_sessions([[1, 2]], "s")))
    assert set(dataset[[0]].columns) == {"visit", "product", "product_past", "n"}
    assert dataset.product_list_field == dataset.item_id_list_field == "product_past"
    assert dataset.num("product_past") == 6


def test_padding_width_is_decided_by_key_model_class_or_attribute():
    def config(padding=None, model_class=None):
        values = PlainConfig(padding=padding)
        values.model_class = model_class
        return values

    ours = type("Ours", (), {"variable_length": True})
    assert resolve_padding(PlainConfig()) == "max"
    assert resolve_padding(config("auto", ours)) == resolve_padding(config(None, ours)) == "batch"
    assert resolve_padding(config("auto", object)) == "max"
    for name, width in {"SASRec": "batch", "ATSRec+SASRec": "batch", "STAMP": "max", "ATSRec+STAMP": "max"}.items():
        assert resolve_padding(config("auto", registry.resolve(name))) == width
    assert resolve_padding(config("max", ours)) == "max" and resolve_padding(config("batch", object)) == "batch"

    dataset = SessionDataset(config("max"), as_data(make_sessions([[1, 2, 3]], "s")))
    built = dataset.build()[2]
    dataset.padding = "batch"
    assert dataset.build()[2][[0]]["item_id_list"].shape == (1, 2)
    assert built.padding == "max" and built[[0]]["item_id_list"].shape == (1, 12)


@pytest.mark.parametrize(
    ("settings_", "data", "words"),
    [
        ({"MAX_ITEM_LIST_LENGTH": 0}, None, "MAX_ITEM_LIST_LENGTH: must be a whole number of at least 1, not 0"),
        ({"MAX_ITEM_LIST_LENGTH": "9"}, None, "MAX_ITEM_LIST_LENGTH"),
        ({"padding": "wide"}, None, "padding: 'wide' is not one of auto, batch, max"),
        ({}, as_data(make_sessions([[1], [2]], "s")), "data set tiny: no session of the test split"),
    ],
)
def test_bad_input_is_named(settings_, data, words):
    with pytest.raises(UserError, match=words) as error:
        SessionDataset(PlainConfig(**settings_), data or as_data(make_sessions([[1, 2]], "s")))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("item", [0, 6])
def test_item_ids_outside_the_catalogue_are_refused(item):
    with pytest.raises(ValueError, match=r"1\.\.5"):
        SessionDataset(PlainConfig(), as_data(make_sessions([[1, item]], "s")))


def test_instances_are_counted_without_being_made():
    generator = np.random.default_rng(0)
    for _ in range(50):
        lengths = generator.integers(0, 5, 30)
        items = np.ones(lengths.sum(), dtype=np.int32)
        offsets = np.append(0, np.cumsum(lengths))
        for is_target in (None, generator.random(len(items)) < 0.5):
            sessions = Sessions(items, offsets, np.arange(30).astype(str), is_target=is_target)
            assert sessions.n_instances == len(sessions.instances()[0])
