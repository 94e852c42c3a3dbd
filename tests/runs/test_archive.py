"""A checkpoint made to harm costs no more than its size, and is refused in one line."""

import random
import zipfile

import pytest
import torch

from recbole_tme.errors import UserError
from recbole_tme.runs.archive import check_structure
from recbole_tme.runs.checkpoint import load_checkpoint, save_checkpoint

SHARED = b"K\x01\x85q\x00" + b"h\x00\x86q\x00" * 60
COSTLY = {
    "a key that takes 2^60 steps to hash": (b"\x80\x02}" + SHARED + b"K\x01s.", "two places"),
    "a key a million deep": (b"\x80\x02}K\x01" + b"\x85" * 10**6 + b"K\x01s.", "more than 16 tuples"),
    "a list of 2^60 values": (b"\x80\x02]q\x00K\x01a" + b"]q\x01h\x00a" * 2 + b".", "two places"),
    "what is built stands twice": (b"\x80\x02ccollections\nOrderedDict\n)Rq\x00h\x00\x86.", "two places"),
    "a step without what it needs": (b"\x80\x02\x86.", "damaged"),
    "a key that is a list": (b"\x80\x02}]K\x01s.", "not a checkpoint"),
}


@pytest.fixture
def saved(tmp_path):
    payload = {"model": "SRGNN", "items": ["[PAD]", "a"], "state_dict": {"w": torch.ones(2, 3)}, "kept": [[1, "x"]]}
    save_checkpoint(tmp_path / "checkpoint.pt", payload)
    return tmp_path / "checkpoint.pt"


def with_content(path, change, packed=zipfile.ZIP_STORED):
    """The same archive, its sums right, with other content."""
    with zipfile.ZipFile(path) as archive:
        parts = {part.filename: archive.read(part) for part in archive.infolist()}
    with zipfile.ZipFile(path, "w", packed) as archive:
        for name, content in parts.items():
            archive.writestr(name, change(content) if name.endswith("/data.pkl") else content)


@pytest.mark.parametrize("what", COSTLY)
def test_content_that_costs_more_than_its_size_is_refused(what, saved):
    content, said = COSTLY[what]
    with_content(saved, lambda _: content)
    with pytest.raises(UserError, match=said):
        load_checkpoint(saved)


def test_lists_within_lists_are_refused_when_they_are_too_deep(saved):
    head = b"\x80\x02}X\x06\0\0\0formatX\x16\0\0\0recbole_tme checkpointsX\x07\0\0\0versionK\x01sX\x01\0\0\0x"
    with_content(saved, lambda _: head + b"]" * 10**5 + b"a" * (10**5 - 1) + b"s.")
    with pytest.raises(UserError, match="does not fit"):
        load_checkpoint(saved)


@pytest.mark.parametrize("part", ["state_dict", "kept"])
def test_a_tensor_that_promises_more_than_it_holds_is_refused(part, saved):
    content = torch.load(saved, weights_only=True)
    torch.save({**content, part: {"w": torch.zeros(1).expand(10**11)}}, saved)
    with pytest.raises(UserError, match=r"shape \[100000000000\] with 4 bytes"):
        load_checkpoint(saved)


def test_a_packed_archive_is_refused(saved):
    save_checkpoint(saved, {"model": "SRGNN", "items": ["[PAD]"], "state_dict": {"w": torch.zeros(10**5)}})
    with_content(saved, lambda content: content, zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="larger than the file"):
        load_checkpoint(saved)


def test_what_this_program_saves_passes(tmp_path):
    shared, weights = ["one list"], {"w": torch.ones(2, 3), "b": torch.ones(3)}
    moments = {n: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(2, 3)} for n in range(3)}
    optimizer = {"state": moments, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "params": [0, 1, 2]}]}
    content = {"state_dict": weights, "best_state": weights, "optimizer": optimizer, "kept": [shared, shared, (1, 2)]}
    payload = {"model": "GRU", "items": [f"i{n % 50}" for n in range(300)], **content}
    save_checkpoint(tmp_path / "checkpoint.pt", payload)
    assert load_checkpoint(tmp_path / "checkpoint.pt")["kept"] == [shared, shared, [1, 2]]


def test_a_checkpoint_whose_content_is_damaged_in_any_way_is_refused_in_one_line(saved):
    rng, refused = random.Random("content"), 0
    whole = saved.read_bytes()
    for _ in range(60):
        saved.write_bytes(whole)

        def damaged(content):
            at = rng.randrange(2, len(content))
            return content[:at] + rng.choice((b"", b"R", b"}", b"\x85", b"q\x00", b"h\x01", b"e")) + content[at + 1 :]

        with_content(saved, damaged)
        try:
            load_checkpoint(saved)
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 20


def test_no_pickle_at_all():
    with pytest.raises(ValueError):
        check_structure(b"")
