"""No training step waits for its device or leaves it, on a device without values: what a GPU's users would notice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.fake_gpu import FAULTS, STEPS
from torch.utils import backend_registration

pytestmark = pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this version of PyTorch takes no device written in Python",
)
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, str]:
    """What became of each step and each fault, in a process of its own, as a device is registered for good."""
    path = os.pathsep.join([str(HERE.parent), str(HERE)])
    done = subprocess.run(
        [sys.executable, HERE / "helpers" / "fake_gpu.py"],
        cwd=tmp_path_factory.mktemp("fake_gpu"),
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize(("name", "settings"), STEPS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_step_neither_waits_nor_mixes_devices(name, settings, outcomes):
    assert outcomes[f"{name} {settings}"] == "passes"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_step_that_did_would_be_noticed(fault, outcomes):
    assert outcomes[fault] != "passes"
