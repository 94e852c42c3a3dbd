"""Each shim works, and each is still needed: plain RecBole is looked at in a process of its own."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_tme.errors import UserError
from recbole_tme.recbole_patches import patches
from recbole_tme.utils import versions

ROOT = Path(__file__).parents[2]

# What RecBole does without this package ("never"), and when it is imported first ("before") or last ("after").
PROBE = """
import json, logging, os, sys, types, warnings
when = sys.argv.pop()
warnings.simplefilter("ignore")
if when == "before":
    import recbole_tme
import numpy as np
import pandas as pd
import torch
import recbole.config, recbole.trainer, recbole.utils
import recbole.data.dataset.dataset as data
import recbole.model.sequential_recommender
if when != "never":
    import recbole_tme.runs.checkpoint, recbole_tme.config.load, recbole_tme.commands.list, recbole_tme.models.registry

def outcome(action):
    try:
        return repr(action())
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {error}"

found = {
    "np.float": "float" in vars(np),
    "anomaly": torch.is_anomaly_enabled(),
    "unknown model": outcome(lambda: recbole.utils.get_model("Bogus")),
    "wrong case": outcome(lambda: recbole.utils.get_model("srgnn")),
    "our model": outcome(lambda: recbole.utils.get_model("TMEGNN")),
    "compatibility": outcome(lambda: recbole.config.Config.compatibility_settings(None)),
    "ray imported": "ray" in sys.modules,
}
torch.autograd.set_detect_anomaly(True)
import recbole.model.sequential_recommender.sine
found["user's anomaly mode"] = torch.is_anomaly_enabled()

class Half(torch.nn.Linear):
    def other_parameter(self):
        return {}

config = recbole.config.Config.__new__(recbole.config.Config)
config.final_config_dict = {"single_spec": True, "model": "Half", "data_path": "."}
model = Half(2, 2)
trainer = types.SimpleNamespace(
    config=config, model=model, optimizer=torch.optim.Adam(model.parameters()), cur_step=0, best_valid_score=0.5,
    saved_model_file="probe.pth", logger=logging.getLogger(), catalogue=["[PAD]", "a"],
)
recbole.trainer.Trainer._save_checkpoint(trainer, 0, verbose=False)
found["checkpoint"] = outcome(lambda: sorted(torch.load("probe.pth")))

from recbole.evaluator.collector import Collector, DataStruct
collector = Collector.__new__(Collector)
collector.data_struct = DataStruct()
collector.data_struct.set("data.num_items", 3)
collector.data_struct.set("rec.items", torch.ones(1))
found["collector"] = outcome(lambda: sorted(collector.get_data_struct()._data_dict.items()))
found["collector"] += outcome(lambda: [*collector.data_struct._data_dict])

recbole.utils.get_tensorboard(logging.getLogger("probe")).close()
found["tensorboard"] = os.path.isdir("log_tensorboard")

dataset = data.Dataset.__new__(data.Dataset)
frame = pd.DataFrame({"x": [1.0, float("nan")]})
dataset.logger = logging.getLogger()
dataset.feat_name_list, dataset.x_feat, dataset.field2type = ["x_feat"], frame, {"x": recbole.utils.FeatureType.FLOAT}
dataset._fill_nan()
found["nan left"] = bool(frame["x"].isna().any())
found["stock data set"] = outcome(lambda: data.Dataset._from_scratch(dataset))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    def start(when: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", PROBE, when],
            cwd=tmp_path_factory.mktemp("probe"),
            env=os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    started = {when: start(when) for when in ("never", "before", "after")}
    found = {}
    for when, process in started.items():
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        found[when] = json.loads(output.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    ("what", "plain"),
    [
        ("np.float", False),
        ("anomaly", True),
        ("tensorboard", True),
    ],
)
def test_shim_is_still_needed(probe, what, plain):
    assert probe["never"][what] == plain


def test_checkpoint_shim_is_still_needed(probe):
    assert probe["never"]["checkpoint"].startswith("UnpicklingError: Weights only load failed")


def test_collector_shim_is_still_needed(probe):
    assert probe["never"]["collector"].startswith("AttributeError: 'int' object has no attribute 'cpu'")


def test_get_model_shim_is_still_needed(probe):
    if importlib.util.find_spec("lightgbm") is None:
        assert probe["never"]["unknown model"] == "ModuleNotFoundError: No module named 'lightgbm'"
    assert probe["never"]["wrong case"].startswith("AttributeError")
    assert "TMEGNN" not in probe["never"]["our model"]


def test_config_alias_shim_is_still_needed(probe):
    if versions.version_tuple(np.__version__) < (2,):
        pytest.skip("NumPy 1 still has np.float_")
    assert "np.float_" in probe["never"]["compatibility"]


def test_pandas_shim_is_still_needed(probe):
    if versions.version_tuple(versions.installed_versions()["pandas"]) < (3,):
        assert not probe["before"]["nan left"]
        pytest.skip("pandas 2 still fills in place")
    assert probe["never"]["nan left"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_shims_work_whenever_this_package_is_imported(probe, when):
    found = probe[when]
    assert found["np.float"]
    assert not found["anomaly"]
    assert found["user's anomaly mode"]
    assert found["compatibility"] == "None"
    assert found["unknown model"] == "UserError: unknown model 'Bogus'; recbole-tme list models shows all"
    assert found["wrong case"] == "UserError: unknown model 'srgnn'; did you mean SRGNN?"
    assert found["our model"] == "<class 'recbole_tme.models.tmegnn.TMEGNN'>"
    assert "'state_dict'" in found["checkpoint"] and "'items'" in found["checkpoint"]
    # The items are of one evaluation, their number is of all.
    assert found["collector"] == "[('data.num_items', 3), ('rec.items', tensor([1.]))]['data.num_items']"
    assert not found["ray imported"]
    if versions.version_tuple(versions.installed_versions()["pandas"]) >= (3,):
        assert found["stock data set"].startswith("UserError: RecBole's Dataset does not work with pandas 3")


def test_package_import_is_cheap():
    code = "import sys, recbole_tme; print([m for m in ('torch', 'recbole', 'numpy', 'ray') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_aliases_mean_what_recbole_means_by_them():
    patches.install_numpy_aliases()
    assert np.float is np.float64 or np.float is float
    assert np.zeros(2, dtype=np.float).dtype == np.float64
    assert np.zeros(2, dtype=np.float_).dtype == np.float64
    assert np.zeros(2, dtype=np.long).dtype == np.int64
    assert np.zeros(2, dtype=np.bool).dtype == bool


def test_earlier_anomaly_choice_is_kept():

    for choice in (True, False):
        with torch.autograd.set_detect_anomaly(choice, check_nan=False):
            with patches.keeping_anomaly_mode():
                torch.autograd.set_detect_anomaly(True)
            assert torch.is_anomaly_enabled() == choice
            assert not torch.is_anomaly_check_nan_enabled()


def test_tensorboard_goes_where_it_is_sent(tmp_path, monkeypatch):
    from recbole.trainer import trainer

    monkeypatch.chdir(tmp_path)
    before = trainer.get_tensorboard
    with patches.tensorboard_in(tmp_path / "run" / "tensorboard"):
        trainer.get_tensorboard(None).close()
    assert trainer.get_tensorboard is before
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))
    assert not (tmp_path / "log_tensorboard").exists()


def test_tensorboard_is_given_back_after_an_error(tmp_path):
    from recbole.trainer import trainer

    before = trainer.get_tensorboard
    with pytest.raises(RuntimeError), patches.tensorboard_in(tmp_path):
        raise RuntimeError
    assert trainer.get_tensorboard is before


def test_pandas_guard_leaves_old_pandas_alone(monkeypatch):
    import pandas
    from recbole.data.dataset import dataset

    class Fake:
        class Dataset:
            _from_scratch = "original"

    monkeypatch.setattr(pandas, "__version__", "2.3.3")
    patches.patch_dataset(Fake)
    assert Fake.Dataset._from_scratch == "original"
    monkeypatch.setattr(pandas, "__version__", "3.0.0")
    patches.patch_dataset(Fake)
    with pytest.raises(UserError, match="pandas<3"):
        Fake.Dataset._from_scratch(dataset.Dataset)
