"""Every file of a run and of a bundle, damaged and of the wrong shape: one line that names it, in every command."""

import json
import os
import random
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from recbole_tme.cli import main
from recbole_tme.config.load import load_config
from recbole_tme.experiment.run import run
from recbole_tme.runs.checkpoint import load_checkpoint
from tests.helpers.tally import TRIED

pytestmark = pytest.mark.slow

# More of them by the environment, for a longer attack.
PER_FILE = int(os.environ.get("ATTACK_SHAPES", "25"))
WRONG = (None, True, -1, 1e308, 10**30, "", "x", "\x1b[31m|`=1+1", [], {}, [None], [[1]], {"a": {"b": []}})
JSON_FILES = ("metrics.json", "environment.json", "details.json", "catalogue.json")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    settings = {
        "show_progress": False,
        "device": "cpu",
        "epochs": 2,
        "embedding_size": 8,
        "run_dir": str(folder / "runs"),
    }
    directory = run(load_config("SRGNN", "toy", config_dict=settings))
    assert main(["bundle", str(directory.path), f"--out={folder / 'bundle'}"]) == 0
    (folder / "sessions.txt").write_text(f"{directory.read_items()[1]}\n")
    return folder, directory.path


@pytest.fixture
def place(whole, tmp_path):
    folder, directory = whole
    shutil.copytree(folder, tmp_path / "all")
    return tmp_path / "all", tmp_path / "all" / directory.relative_to(folder)


def commands(folder, directory):
    """What reads runs and bundles."""
    sessions = f"--input={folder / 'sessions.txt'}"
    yield ["table", str(directory)]
    yield ["report", str(directory), f"--out={folder / 'report'}"]
    yield ["significance", str(directory), str(directory)]
    yield ["recommend", str(directory), sessions]
    yield ["recommend", str(folder / "bundle"), sessions]
    yield ["bundle", str(directory), f"--out={folder / 'again'}"]
    yield ["leakcheck", str(directory), "--instances=4"]
    yield ["run", f"--resume={directory}"]
    yield ["show", str(directory)]
    yield ["list", "runs", f"--run_dir={directory.parents[2]}"]


def endure(words, capfd, what):
    """Run a command in this process: it ends by itself, with one line of error or none."""
    TRIED["commands"] += 1
    try:
        code = main(words)
    except SystemExit as exit_:
        code = exit_.code
    except Exception as error:
        raise AssertionError(f"{what}: {' '.join(words)}: {type(error).__name__}: {error}") from error
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert code in (0, 1, 2) and len(errors) == (code == 2), f"{what}: {words}: {code}, {errors}"


def places(content, path=()):
    """Every key and index of plain data, some of long lists."""
    yield path
    if isinstance(content, dict):
        for key in list(content)[:30]:
            yield from places(content[key], (*path, key))
    elif isinstance(content, list):
        for index in {0, len(content) - 1} if content else ():
            yield from places(content[index], (*path, index))


def changed(content, path, value, remove=False):
    if not path:
        return value
    copy = content.copy()
    if len(path) == 1 and remove:
        del copy[path[0]]
    else:
        copy[path[0]] = changed(content[path[0]], path[1:], value, remove)
    return copy


@pytest.mark.parametrize("name", JSON_FILES)
def test_json_of_a_wrong_shape(name, place, capfd):
    folder, directory = place
    rng = random.Random(name)
    file = directory / name
    content = json.loads(file.read_text())
    everywhere = list(places(content))
    for _ in range(PER_FILE):
        path, value, remove = rng.choice(everywhere), rng.choice(WRONG), rng.random() < 0.3
        file.write_text(json.dumps(changed(content, path, value, remove)))
        for words in commands(folder, directory):
            endure(words, capfd, f"{name} {path} {'gone' if remove and path else repr(value)}")
    for text in ("", "{", "[" * 200_000, "\x00", "NaN", '{"a": 1, "a": 2}'):
        file.write_text(text)
        for words in commands(folder, directory):
            endure(words, capfd, f"{name} holds {text[:10]!r}")


def flipped(content: bytes, rng: random.Random) -> bytes:
    """Bytes cut off, flipped or repeated."""
    at = rng.randrange(len(content))
    how = rng.randrange(3)
    if how == 0:
        return content[:at]
    if how == 1:
        return content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]
    return content[:at] + content[at // 2 :]


@pytest.mark.parametrize(
    "name", ["config.yaml", "history.csv", "items.txt", "ranks.npz", "model.safetensors", "checkpoint-select.pt"]
)
def test_bytes_that_are_damaged(name, place, capfd):
    folder, directory = place
    rng = random.Random(name)
    file = directory / name
    content = file.read_bytes()
    (directory / "metrics.json").rename(directory / "kept.json")
    for number in range(PER_FILE):
        file.write_bytes(flipped(content, rng))
        # Half of them as a run that is still to be finished, so that its checkpoint is read.
        if number % 2:
            shutil.copy(directory / "kept.json", directory / "metrics.json")
        else:
            (directory / "metrics.json").unlink(missing_ok=True)
        for words in commands(folder, directory):
            endure(words, capfd, f"{name}, damage {number}")


def test_bundles_that_are_damaged(place, capfd):
    folder, directory = place
    rng = random.Random(1)
    for file in sorted((folder / "bundle").iterdir()):
        content = file.read_bytes()
        for number in range(PER_FILE):
            file.write_bytes(flipped(content, rng))
            endure(list(commands(folder, directory))[4], capfd, f"{file.name} {number}")
        file.write_bytes(content)


def wrong_arrays(array, rng):
    yield array.astype("float64") if array.dtype.kind != "f" else array.astype("int32")
    yield array.reshape(1, -1)
    yield array[: len(array) // 2]
    yield np.array("text")
    yield np.array(3)


def test_ranks_of_a_wrong_type_or_length(place, capfd):
    folder, directory = place
    file = directory / "ranks.npz"
    with np.load(file) as loaded:
        arrays = dict(loaded)
    for name in arrays:
        versions = [arrays | {name: wrong} for wrong in wrong_arrays(arrays[name], None)]
        for number, version in enumerate([*versions, {k: v for k, v in arrays.items() if k != name}]):
            np.savez(file, **version)
            for words in list(commands(folder, directory))[:3]:
                endure(words, capfd, f"{name} {number}")


def test_weights_of_a_wrong_type_or_shape(place, capfd):
    folder, directory = place
    file = directory / "model.safetensors"
    weights = load_file(file)
    for name, tensor in weights.items():
        for number, wrong in enumerate((tensor.long(), tensor[:1], tensor.reshape(-1), tensor * torch.nan)):
            save_file(weights | {name: wrong.contiguous()}, file)
            for words in (list(commands(folder, directory))[3], ["leakcheck", str(directory), "--instances=4"]):
                endure(words, capfd, f"{name} {number}")


def test_checkpoints_that_lack_a_key_or_hold_another_type(place, capfd):
    _, directory = place
    (directory / "metrics.json").unlink()
    file = directory / "checkpoint-select.pt"
    content = torch.load(file, weights_only=True)
    assert load_checkpoint(file)["model"] == "SRGNN"
    for key in content:
        for wrong in (None, "x", [], {}, -1, torch.zeros(2), "absent"):
            version = {k: v for k, v in content.items() if k != key} | (
                {} if isinstance(wrong, str) and wrong == "absent" else {key: wrong}
            )
            torch.save(version, file)
            endure(["run", f"--resume={directory}"], capfd, f"{key} = {wrong!r}")
            (directory / "metrics.json").unlink(missing_ok=True)
