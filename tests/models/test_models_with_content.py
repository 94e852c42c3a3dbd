"""Models with content of items: trained, loaded, served and updated; cold items found by what is known of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from recbole_tme import Recommender, UserError
from recbole_tme.config.load import load_config
from recbole_tme.data.ragged import keep_clicks, take_sessions
from recbole_tme.data.readers.atomic import write_dataset
from recbole_tme.data.synthetic import toy
from recbole_tme.experiment.loading import load_run
from recbole_tme.experiment.run import run
from recbole_tme.nn.item_content import content_of
from recbole_tme.runs.checkpoint import read_weights
from recbole_tme.updating.carry import NewItems, carry_over

QUIET = {"epochs": 1, "device": "cpu", "show_progress": False, "embedding_size": 16}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The toy data set: an item's title names its chain; a fifth of the items has no click in training."""
    folder, data = tmp_path_factory.mktemp("content"), toy(n_sessions=1500)
    chain = {}
    for session in range(len(data.train)):
        for item in data.train[session]:
            chain.setdefault(int(item), int(min(data.train[session])))
    for _ in range(5):
        for session in range(len(data.train)):
            least = min(chain[int(item)] for item in data.train[session])
            chain |= {int(item): least for item in data.train[session]}
    titles = {str(data.tokens[item]): f"chain{one}" for item, one in chain.items()}
    cold = np.zeros(len(data.tokens), dtype=bool)
    cold[np.random.default_rng(1).choice(np.arange(1, len(cold)), 16, replace=False)] = True
    train = keep_clicks(data.train, ~cold[data.train.items])
    train = take_sessions(train, train.lengths >= 2)
    write_dataset(folder, replace(data, name="shop", train=train, titles=titles), {})
    return folder, {str(data.tokens[item]) for item in np.flatnonzero(cold)}, titles


def trained(shop, model, **settings):
    folder, *_ = shop
    places = {"data_path": str(folder), "run_dir": str(folder / "runs")}
    return run(load_config(model, "shop", config_dict=QUIET | places | {"item_content": "title"} | settings))


@pytest.mark.parametrize("model", ["SRGNN", "TMEGNN", "TMEGNNDP", "DANSeR"])
def test_every_model_trains_and_answers_as_it_did_when_it_is_loaded_again(shop, model):
    directory = trained(shop, model)
    loaded = load_run(directory.path)
    content = content_of(loaded.model.item_embedding)
    assert content is not None and not content.is_trained[1:].all()
    recommender = Recommender.load(directory.path)
    session = [str(item) for item in loaded.data.tokens[1:3]]
    (answer,) = recommender.answers([session], 10)
    with torch.no_grad():
        scores = loaded.model.score_catalogue(loaded.model.encoded(torch.tensor([[1, 2]]), torch.tensor([2])))[0]
    best = [str(loaded.data.tokens[row]) for row in scores[1:].topk(10).indices + 1]
    assert set(answer.items) == set(best)


def test_cold_items_are_found_by_their_content(shop):
    _, cold, titles = shop
    directory = trained(shop, "TMEGNN", epochs=8, learning_rate=0.01, train_batch_size=64)
    recommender = Recommender.load(directory.path)
    warm = [item for item in recommender.items if item not in cold]
    found = 0
    for item in sorted(cold):
        same = [one for one in warm if titles[one] == titles[item]]
        if same:
            (answer,) = recommender.answers([[same[0]]], 10)
            found += item in answer.items
    # Of ten items among eighty one in eight would be found by chance.
    assert found >= 8


def test_an_update_keeps_what_content_gives_though_features_turn(shop):
    directory = trained(shop, "SRGNN")
    weights = read_weights(directory.model_file)
    loaded = load_run(directory.path)
    before = loaded.model.item_embedding.weight.detach().clone()
    n = len(before)
    fresh = load_run(directory.path).model
    content = content_of(fresh.item_embedding)
    turn, _ = torch.linalg.qr(torch.randn(64, 64))
    content.features.copy_(content.features @ turn)
    carry_over(fresh, weights, NewItems(np.arange(n), loaded.data.train), n)
    fresh.eval()
    torch.testing.assert_close(fresh.item_embedding.weight, before, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("SRGNN", {"loss_type": "sampled"}, "set loss_type: full"),
        ("SRGNN", {"item_content": "colour"}, "no column 'colour'"),
        ("ATSRec+SRGNN", {}, "ATSRec moves a table that is learned whole"),
    ],
)
def test_refused(shop, model, settings, message):
    with pytest.raises(UserError, match=message):
        trained(shop, model, **settings)
