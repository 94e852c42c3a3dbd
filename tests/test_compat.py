"""Each shim works, and each is still needed: plain RecBole is looked at in a process of its own."""

import importlib.util
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_tme import compat
from recbole_tme.errors import UserError

ROOT = Path(__file__).parents[1]

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
    import recbole_tme.checkpoint, recbole_tme.config, recbole_tme.listing, recbole_tme.registry

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


def test_get_model_shim_is_still_needed(probe):
    if importlib.util.find_spec("lightgbm") is None:
        assert probe["never"]["unknown model"] == "ModuleNotFoundError: No module named 'lightgbm'"
    assert probe["never"]["wrong case"].startswith("AttributeError")
    assert "TMEGNN" not in probe["never"]["our model"]


def test_config_alias_shim_is_still_needed(probe):
    if compat.version_tuple(np.__version__) < (2,):
        pytest.skip("NumPy 1 still has np.float_")
    assert "np.float_" in probe["never"]["compatibility"]


def test_pandas_shim_is_still_needed(probe):
    if compat.version_tuple(compat.installed_versions()["pandas"]) < (3,):
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
    assert not found["ray imported"]
    if compat.version_tuple(compat.installed_versions()["pandas"]) >= (3,):
        assert found["stock data set"].startswith("UserError: RecBole's Dataset does not work with pandas 3")


def test_package_import_is_cheap():
    code = "import sys, recbole_tme; print([m for m in ('torch', 'recbole', 'numpy', 'ray') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_aliases_mean_what_recbole_means_by_them():
    compat.install_numpy_aliases()
    assert np.float is np.float64 or np.float is float
    assert np.zeros(2, dtype=np.float).dtype == np.float64
    assert np.zeros(2, dtype=np.float_).dtype == np.float64
    assert np.zeros(2, dtype=np.long).dtype == np.int64
    assert np.zeros(2, dtype=np.bool).dtype == bool


def test_earlier_anomaly_choice_is_kept():
    import torch

    for choice in (True, False):
        with torch.autograd.set_detect_anomaly(choice, check_nan=False):
            with compat.keeping_anomaly_mode():
                torch.autograd.set_detect_anomaly(True)
            assert torch.is_anomaly_enabled() == choice
            assert not torch.is_anomaly_check_nan_enabled()


def test_tensorboard_goes_where_it_is_sent(tmp_path, monkeypatch):
    from recbole.trainer import trainer

    monkeypatch.chdir(tmp_path)
    before = trainer.get_tensorboard
    with compat.tensorboard_in(tmp_path / "run" / "tensorboard"):
        trainer.get_tensorboard(None).close()
    assert trainer.get_tensorboard is before
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))
    assert not (tmp_path / "log_tensorboard").exists()


def test_tensorboard_is_given_back_after_an_error(tmp_path):
    from recbole.trainer import trainer

    before = trainer.get_tensorboard
    with pytest.raises(RuntimeError), compat.tensorboard_in(tmp_path):
        raise RuntimeError
    assert trainer.get_tensorboard is before


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ({"numpy": "1.26.4", "pyarrow": "26.0.1"}, ["pyarrow<26"]),
        ({"numpy": "1.26.4", "pandas": "3.1.1"}, ["pandas<3"]),
        ({"numpy": "2.4.6", "ray": "2.6.3", "setuptools": "80.1"}, ["numpy<2"]),
        ({"numpy": "1.26.4", "ray": "2.6.3", "setuptools": "84.2"}, ["setuptools<81"]),
        ({"numpy": "1.26.4", "ray": "2.6.3"}, ["setuptools<81"]),
        ({"numpy": "2.4.6", "ray": "2.60.0", "setuptools": "84.2"}, ["ray[tune]<2.7"]),
        ({"numpy": "2.4.6", "pandas": "3.1.1", "pyarrow": "26.0.1", "setuptools": "84"}, []),
        ({"numpy": "1.26.4", "pandas": "2.3.3", "pyarrow": "25.0", "ray": "2.6.3", "setuptools": "80.10.2"}, []),
    ],
)
def test_conflicts_name_the_remedy(versions, expected):
    found = compat.conflicts(versions)
    assert len(found) == len(expected)
    for line, remedy in zip(found, expected):
        assert remedy in line


@pytest.mark.parametrize(("text", "numbers"), [("2.13.0+cpu", (2, 13, 0)), ("3.0rc1", (3, 0)), ("1.26", (1, 26))])
def test_version_tuple(text, numbers):
    assert compat.version_tuple(text) == numbers


def test_pandas_guard_leaves_old_pandas_alone(monkeypatch):
    import pandas
    from recbole.data.dataset import dataset

    class Fake:
        class Dataset:
            _from_scratch = "original"

    monkeypatch.setattr(pandas, "__version__", "2.3.3")
    compat.patch_dataset(Fake)
    assert Fake.Dataset._from_scratch == "original"
    monkeypatch.setattr(pandas, "__version__", "3.0.0")
    compat.patch_dataset(Fake)
    with pytest.raises(UserError, match="pandas<3"):
        Fake.Dataset._from_scratch(dataset.Dataset)


def test_fast_bfloat16_is_what_the_processor_says():
    flags = Path("/proc/cpuinfo")
    if not flags.exists():
        pytest.skip("needs /proc/cpuinfo to compare with")
    words = set(flags.read_text().split())
    assert compat.has_fast_bfloat16(torch.device("cpu")) == bool(words & {"avx512_bf16", "amx_tile"})


def test_fast_bfloat16_is_denied_where_torch_no_longer_answers(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert compat.has_fast_bfloat16(torch.device("cpu")) is False


FAULTS = """
import resource, sys, torch
from recbole_tme.compat import keep_freed_memory

def pages_cleared():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        # As the loss does: the blocks of a chunk together, then none.
        blocks = [torch.ones(3_000_000), torch.ones(12_000_000), torch.ones(3_000_000)]
        assert all(bool((block == 1).all()) for block in blocks)
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
default = min(pages_cleared() for _ in range(3))
keep_freed_memory()
# Small blocks settle between the large ones, so that the heap still grows now and then.
print(default, min(pages_cleared() for _ in range(5)))
"""


def test_freed_memory_is_used_again_without_asking_the_kernel():
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        pytest.skip("the setting is glibc's")
    # A user's own settings of the C library would decide the first number.
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "LD_PRELOAD", "GLIBC"))}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], cwd=ROOT, env=clean, capture_output=True, text=True, check=True
    )
    default, kept = map(int, done.stdout.split())
    assert kept < default / 2


RETURNED = """
import re
from pathlib import Path
import numpy as np
from recbole_tme.compat import return_freed_memory

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

# 40 MB in blocks too small for pages of their own, and in their midst one that stays.
blocks = [np.ones(10_000) for _ in range(500)]
stays = blocks[-1]
full = resident()
del blocks
freed = resident()
return_freed_memory()
print(full, freed, resident())
"""


def test_freed_memory_is_returned_on_request():
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        pytest.skip("the function is glibc's")
    done = subprocess.run([sys.executable, "-c", RETURNED], cwd=ROOT, capture_output=True, text=True, check=True)
    full, freed, returned = map(int, done.stdout.split())
    assert freed > full - 10_000 and returned < full - 30_000


@pytest.mark.parametrize("function", [compat.keep_freed_memory, compat.return_freed_memory])
def test_freed_memory_is_left_alone_where_the_c_library_has_nothing_for_it(function, monkeypatch):
    monkeypatch.setattr(compat.ctypes, "CDLL", lambda name: object())
    function()
    monkeypatch.setattr(compat.sys, "platform", "darwin")
    monkeypatch.setattr(compat.ctypes, "CDLL", lambda name: pytest.fail("looked for"))
    function()
