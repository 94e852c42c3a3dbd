"""A text encoder in a local folder: what its vectors are, what is refused, and models that use it."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from recbole_tme import Recommender
from recbole_tme.config.load import load_config
from recbole_tme.data.item_features import item_features
from recbole_tme.data.item_recipe import ItemRecipe
from recbole_tme.data.items import ItemColumn
from recbole_tme.data.readers.atomic import write_dataset
from recbole_tme.data.synthetic import toy
from recbole_tme.data.text_encoder import encoded
from recbole_tme.errors import UserError
from recbole_tme.experiment.run import run
from recbole_tme.nn.item_content import content_of

WORDS = ["red", "blue", "shoe", "hat", "old"]
ITEMS = [str(token) for token in toy().tokens[1:]]
TITLES = {item: f"{WORDS[k % 2]} {WORDS[2 + k % 3]}" for k, item in enumerate(ITEMS)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny BERT with random weights and a vocabulary of words, as transformers stores it."""
    transformers = pytest.importorskip("transformers", reason="needs transformers, the extra encode")
    made = tmp_path_factory.mktemp("encoder")
    (made / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", *WORDS]) + "\n")
    (made / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.BertConfig(vocab_size=6 + len(WORDS), max_position_embeddings=12, **sizes)
    transformers.BertModel(config).save_pretrained(made)
    return made


def sentence_folder(folder, made, modes, layers=()):
    """The same encoder as sentence-transformers stores it."""
    for file in folder.iterdir():
        (made / file.name).write_bytes(file.read_bytes())
    (made / "1_Pooling").mkdir()
    (made / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    names = ["Transformer", "Pooling", *layers]
    modules = [
        {"type": f"sentence_transformers.models.{name}", "path": "1_Pooling" * (name == "Pooling")} for name in names
    ]
    (made / "modules.json").write_text(json.dumps(modules))
    return made


def test_a_text_is_the_mean_of_its_tokens_whatever_stands_beside_it(folder):
    import transformers

    network = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        states = network(**tokenizer("red shoe", return_tensors="pt")).last_hidden_state[0]
    wanted = torch.nn.functional.normalize(states.mean(0), dim=0).double().numpy()
    alone, beside = encoded(folder, ["red shoe"])[0], encoded(folder, ["", "old blue hat, red", "red shoe"])
    np.testing.assert_allclose(alone, wanted, atol=1e-6)
    np.testing.assert_allclose(beside[2], wanted, atol=1e-6)
    assert not beside[0].any() and np.isclose(np.linalg.norm(beside[1]), 1)
    # Longer than it has positions for: cut, not refused.
    assert np.isfinite(encoded(folder, ["red shoe " * 40])).all()


@pytest.mark.parametrize("mode", ["cls", "max", "mean"])
def test_the_pooling_of_sentence_transformers_is_followed(folder, tmp_path, mode):
    modes = {f"pooling_mode_{name}": name.startswith(mode) for name in ("cls_token", "mean_tokens", "max_tokens")}
    import transformers

    network = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        states = network(**tokenizer("blue hat", return_tensors="pt")).last_hidden_state[0]
    wanted = {"cls": states[0], "max": states.amax(0), "mean": states.mean(0)}[mode]
    found = encoded(sentence_folder(folder, tmp_path, modes, ["Normalize"]), ["blue hat"])[0]
    np.testing.assert_allclose(found, torch.nn.functional.normalize(wanted, dim=0).double().numpy(), atol=1e-6)


def test_features_are_the_encoders_and_numbers_stay_classes(folder):
    prices = ItemColumn("float", {item: str(1.5 * k) for k, item in enumerate(ITEMS)})
    data = replace(toy(), titles=TITLES, item_columns={"price": prices})
    table, recipe = item_features(data, "all", None, 8, str(folder))
    assert table.shape == (len(ITEMS) + 1, 8) and not table[0].any()
    again = ItemRecipe.of_bytes(recipe.to_bytes())
    values = {"title": TITLES, "price": prices.values}
    np.testing.assert_allclose(again.features(values, None, ITEMS[:5]), table[1:6], atol=1e-5)
    text, _ = item_features(data, "title", None, 8, str(folder))
    np.testing.assert_allclose(text[1], text[7], atol=1e-6)
    assert not np.allclose(text[1], text[2], atol=1e-3)


def test_another_layer_and_another_pooling_are_refused(folder, tmp_path):
    (tmp_path / "dense").mkdir()
    (tmp_path / "mixed").mkdir()
    with pytest.raises(UserError, match="has a layer Dense, which is not understood"):
        encoded(sentence_folder(folder, tmp_path / "dense", {}, ["Dense"]), ["red"])
    modes = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    with pytest.raises(UserError, match="pools by pooling_mode_cls_token and pooling_mode_mean_tokens"):
        encoded(sentence_folder(folder, tmp_path / "mixed", modes), ["red"])


def test_a_folder_that_holds_something_else_is_refused_in_one_line(folder, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UserError, match="no encoder that can be loaded") as found:
        encoded(tmp_path, ["red"])
    assert "\n" not in str(found.value)


def test_what_is_missing_is_said_without_the_package(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="there is no such folder; name that of an encoder on this machine"):
        encoded(tmp_path / "none", ["red"])
    with pytest.raises(UserError, match=r"has no config.json"):
        encoded(tmp_path, ["red"])
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"needs transformers, which is not installed; run: .*\[encode\]"):
        encoded(tmp_path, ["red"])
    data = replace(toy(), item_columns={"price": ItemColumn("float", {item: "1.5" for item in ITEMS})})
    with pytest.raises(UserError, match="item_encoder: encodes the text of item_content"):
        item_features(data, "all", None, 8, str(tmp_path))


def test_a_model_trained_with_it_recommends_new_items_by_their_titles(folder, tmp_path):
    write_dataset(tmp_path, replace(toy(n_sessions=300), name="shop", titles=TITLES), {})
    places = {"data_path": str(tmp_path), "run_dir": str(tmp_path / "runs"), "item_encoder": str(folder)}
    small = {"epochs": 1, "device": "cpu", "show_progress": False, "embedding_size": 8, "item_content": "title"}
    path = run(load_config("SRGNN", "shop", config_dict=small | places)).path
    (tmp_path / "new.csv").write_text(f"item_id,title\ntwin,{TITLES[ITEMS[0]]}\n")
    grown = Recommender.load(path, new_items=tmp_path / "new.csv")
    features = content_of(grown.model.item_embedding).features
    row = grown.items.index(ITEMS[0]) + 1
    torch.testing.assert_close(features[-1], features[row], atol=1e-5, rtol=1e-4)
    assert grown.items[-1] == "twin" and features[-1].any()
