"""Files of other people, mutated: every command that reads them ends with a result or with one line."""

import os
import pickle
import random
import shutil
import time
import zipfile

import pytest

from tests.helpers.attack import command

pytestmark = pytest.mark.slow

# Per kind of file; more by the environment, for a longer attack.
TRIES = int(os.environ.get("ATTACK_INPUTS", "40"))
ROWS = [(f"s{i}", f"i{(i * k) % 7}", 1_500_000_000 + 100 * i + k) for i in range(40) for k in range(3)]


def text(head, row):
    return (head + "".join(row.format(*one) + "\n" for one in ROWS)).encode()


def presplit(folder):
    row = "{0}\t{1}\t{2}"
    for split in ("train", "test"):
        (folder / f"set.{split}.inter").write_bytes(text("session_id:token\titem_id:token\ttimestamp:float\n", row))


def pickles(folder):
    for split in ("train", "test"):
        (folder / f"{split}.txt").write_bytes(pickle.dumps(([[1, 2], [2, 3, 4]] * 9, [3, 1] * 9), protocol=2))


def zipped(folder):
    with zipfile.ZipFile(folder / "log.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("log.csv", text("session,item,time\n", "{0},{1},{2}"))


def single(name, content):
    return lambda folder: (folder / name).write_bytes(content)


KINDS = {
    "csv": single("log.csv", text("session,item,time\n", "{0},{1},{2}")),
    "tsv": single("log.tsv", text("session\titem\ttime\n", "{0}\t{1}\t{2}")),
    "jsonl": single("log.jsonl", text("", '{{"session": "{0}", "item": "{1}", "time": {2}}}')),
    "lines": single("sessions.txt", b"".join(f"i{i % 5} i{i % 7} i{i % 3}\n".encode() for i in range(60))),
    "presplit": presplit,
    "pickles": pickles,
    "zip": zipped,
}
PIECES = [
    b"\0",
    b"\xff\xfe",
    b"\n",
    b"\t",
    b'"',
    b",",
    b"1e999",
    b"-1",
    b"9" * 400,
    b"NaN",
    b"=1+1",
    b"\x1b[31m",
    b"\r\n",
]


def mutated(content: bytes, rng: random.Random) -> bytes:
    """A few random changes of bytes: cut, flipped, repeated, replaced by something nasty."""
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(content) + 1)
        end = min(len(content), at + rng.choice((1, 3, 40, 400)))
        how = rng.randrange(5)
        if how == 0:
            content = content[:at] + content[end:]
        elif how == 1:
            content = content[:at] + rng.choice(PIECES) + content[at:]
        elif how == 2:
            content = content[:at] + content[at:end] * 3 + content[end:]
        elif how == 3 and at < len(content):
            content = content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]
        else:
            content = content[:at]
    return content


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_logs(kind, tmp_path):
    rng = random.Random(kind)
    source, place, scratch = tmp_path / "source", tmp_path / "data", tmp_path / "scratch"
    for folder in (source, scratch):
        folder.mkdir()
    KINDS[kind](source)
    whole = {file: file.read_bytes() for file in sorted(source.iterdir())}
    for number in range(TRIES):
        shutil.rmtree(place, ignore_errors=True)
        changed = rng.choice(list(whole))
        for file, content in whole.items():
            file.write_bytes(mutated(content, rng) if file == changed else content)
        given = source if len(whole) > 1 else changed
        started = time.monotonic()
        outcome = command("prepare", given, "--name=set", f"--out={place}", "--min-support=1")
        what = f"{kind}, mutation {number} ({changed.read_bytes()[:80]!r})"
        assert outcome.problem() is None, f"{what}: {outcome.problem()}"
        assert time.monotonic() - started < 60, what
        assert (place / "set").exists() == (outcome.code == 0), what
        assert not place.exists() or [path.name for path in place.iterdir()] in ([], ["set"]), what
        if outcome.code == 0:
            audit = command("audit", "set", f"--data_path={place}")
            assert audit.code == 0 and audit.problem() is None, f"{what}: {audit.err}"


SETTINGS = b"""model: SPop
dataset: toy
epochs: 1
metrics: [Hit, MRR]
topk: [5, 10]
learning_rate: 1e-3
valid_metric: MRR@10
train_neg_sample_args: {distribution: none}
show_progress: False
"""
YAML_PIECES = [b"&a ", b"*a", b"[", b"{", b": ", b"- ", b"!!python/object:os.system x", b"<<: ", b"|\n", b"'", b"%TAG"]


def test_mutated_settings(tmp_path):
    rng = random.Random("settings")
    scratch, file = tmp_path / "scratch", tmp_path / "settings.yaml"
    scratch.mkdir()
    for number in range(TRIES):
        content = mutated(SETTINGS, rng)
        at = rng.randrange(len(content) + 1)
        content = content[:at] + rng.choice(YAML_PIECES) + content[at:]
        file.write_bytes(content)
        outcome = command("run", f"--config_files={file}", f"--run_dir={tmp_path / 'runs'}")
        assert outcome.problem() is None, f"settings {number}: {content!r}: {outcome.problem()}"
