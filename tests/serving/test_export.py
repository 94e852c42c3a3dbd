"""Exported models: the original's scores for sessions of any shape, in a process that knows nothing of this package."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.quick_run import MINING, quick_run
from helpers.untrained import SMALL, SMALL_SASREC, untrained

from recbole_tme.cli import main
from recbole_tme.errors import UserError
from recbole_tme.serving import export as export_module
from recbole_tme.serving.export import CatalogueScores, export
from recbole_tme.serving.saved import build_model

GRAPH = SMALL | {"n_layers": 1}
GRU = SMALL | {"hidden_size": 8}
MODELS = [
    ("TMEGNN", GRAPH),
    ("TMEGNNDP", GRAPH),
    ("SRGNN", SMALL),
    ("DANSeR", GRAPH | {"neighbours": False}),
    ("DANSeR", GRAPH | {"neighbours": False, "repeat_explore": False, "across_fields": False}),
    ("ATSRec", SMALL | {"backbone": "SRGNN"}),
    ("ATSRec", SMALL_SASREC | {"backbone": "recbole:SASRec"}),
    ("recbole:GRU4Rec", GRU),
    ("recbole:SASRec", SMALL_SASREC),
    ("recbole:NARM", GRU),
    ("recbole:STAMP", SMALL),
    ("recbole:SRGNN", SMALL),
    ("recbole:GCSAN", SMALL_SASREC),
]
SHAPES = [(1, 1), (1, 2), (1, 6), (2, 3), (40, 5)]


def sessions(batch, length, n_items=60):
    rng = np.random.default_rng(batch * 10 + length)
    lengths = rng.integers(1, length + 1, batch)
    # Few items, so that they repeat.
    items = rng.choice(rng.integers(1, n_items + 1, 4), (batch, length)) * (np.arange(length) < lengths[:, None])
    return torch.from_numpy(items), torch.from_numpy(lengths)


def original(saved) -> CatalogueScores:
    width = saved.settings["MAX_ITEM_LIST_LENGTH"] if saved.settings["padding"] == "max" else None
    return CatalogueScores(build_model(saved, torch.device("cpu")), width)


@pytest.mark.parametrize(("model", "settings"), MODELS, ids=str)
def test_a_torch_file_scores_like_the_model(tmp_path, model, settings):
    saved = untrained(model, tmp_path, **settings)
    said = export(saved, tmp_path / "it.pt2", "torch")
    assert 0 <= said < 1e-4
    metadata = {"catalogue.json": ""}
    exported = torch.export.load(tmp_path / "it.pt2", extra_files=metadata).module()
    wanted, known = original(saved), json.loads(metadata["catalogue.json"])
    assert (known["items"], known["model"], known["max_length"]) == (saved.items.ids, saved.name, 6)
    for shape in SHAPES:
        items, lengths = sessions(*shape)
        with torch.no_grad():
            scores = exported(items, lengths)
            assert scores.shape == (shape[0], 60)
            torch.testing.assert_close(scores, wanted(items, lengths), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("model", "settings"), [MODELS[2], MODELS[3], MODELS[7]], ids=str)
def test_an_onnx_file_scores_like_the_model(tmp_path, model, settings):
    pytest.importorskip("onnxscript", reason="needs the extra: pip install 'recbole_tme[onnx]'")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra: pip install 'recbole_tme[onnx]'")
    saved = untrained(model, tmp_path, **settings)
    export(saved, tmp_path / "it.onnx", "onnx")
    session = onnxruntime.InferenceSession(tmp_path / "it.onnx")
    assert json.loads(session.get_modelmeta().custom_metadata_map["catalogue.json"])["items"] == saved.items.ids
    wanted = original(saved)
    for shape in SHAPES:
        items, lengths = sessions(*shape)
        (scores,) = session.run(["scores"], {"items": items.numpy(), "lengths": lengths.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(scores), wanted(items, lengths), rtol=1e-4, atol=1e-5)


ALONE = """\
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in ("recbole_tme", "recbole", "ray", "pandas"):
            return None
        return PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
import json, torch
metadata = {"catalogue.json": ""}
model = torch.export.load(sys.argv[1], extra_files=metadata).module()
number = {item: i for i, item in enumerate(json.loads(metadata["catalogue.json"])["items"], start=1)}
clicks = torch.tensor([[number[item] for item in sys.argv[2:]]])
print(json.dumps(model(clicks, torch.tensor([clicks.shape[1]]))[0].tolist()))
assert not any(name.startswith("recbole") for name in sys.modules)
"""


def test_the_file_of_a_run_needs_nothing_but_torch(tmp_path, capsys):
    from recbole_tme.serving.recommender import Recommender

    run = quick_run(tmp_path, "TMEGNN", **MINING).path
    out = tmp_path / "new folder" / "tmegnn.pt2"
    assert main(["export", str(run), "--format=torch", f"--out={out}"]) == 0
    said = capsys.readouterr().out
    assert str(out) in said and float(re.search(r"sessions: ([\d.e-]+)$", said.strip())[1]) < 1e-4
    recommender = Recommender.load(run)
    session = recommender.items[3:6]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(out), *session], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": "", "PYTHONIOENCODING": "utf-8"}, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    scores = np.array(json.loads(done.stdout))
    (answer,) = recommender.answers([session], len(recommender.items))
    wanted = dict(zip(answer.items, answer.scores))
    np.testing.assert_allclose(scores, [wanted[item] for item in recommender.items], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", ["SPop", "SR", "DANSeR"])
def test_what_is_no_graph_of_tensors_is_refused_in_one_line(tmp_path, model):
    saved = untrained(model, tmp_path, MAX_ITEM_LIST_LENGTH=6)
    with pytest.raises(UserError, match="cannot be exported") as refused:
        export(saved, tmp_path / "it.pt2", "torch")
    assert saved.name in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "it.pt2").exists()


def test_a_file_that_scores_otherwise_is_not_written(tmp_path, monkeypatch):
    saved = untrained("SRGNN", tmp_path, **SMALL)
    read = export_module._read_torch
    monkeypatch.setattr(export_module, "_read_torch", lambda content: lambda *given: read(content)(*given) * 1.01)
    with pytest.raises(UserError, match="not the model's"):
        export(saved, tmp_path / "it.pt2", "torch")
    assert not (tmp_path / "it.pt2").exists()


def test_onnx_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"onnx.*pip install .*\[onnx\]"):
        export(untrained("SRGNN", tmp_path, **SMALL), tmp_path / "it.onnx", "onnx")


@pytest.mark.parametrize(("name", "said"), [("model.safetensors", "exists already"), ("it.bin", r"\*\.pt2")])
def test_an_impossible_name_is_refused(tmp_path, name, said):
    saved = untrained("SRGNN", tmp_path, **SMALL)
    with pytest.raises(UserError, match=said):
        export(saved, tmp_path / name, "torch")


def test_the_command_refuses_a_folder_that_is_no_run(tmp_path, capsys):
    assert main(["export", str(tmp_path), "--format=torch", f"--out={tmp_path / 'it.pt2'}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
