"""Pickles of plain data are read, whoever wrote them, and none costs more than its size."""

import pickle
import pickletools
import random

import pytest

from recbole_tme.data.readers.plain_pickle import check_steps, load_plain
from recbole_tme.errors import UserError

# Numbers and texts of every width that a pickle writes differently, and an object that is there twice.
TWICE = ["again", (1, 2)]
PLAIN = [
    [0, 255, 256, 65_536, -1, 2**31, -(2**40), 2**70, 2**3000, 0.5, None, True, False, b"bytes"],
    ["", "a", "id-24 is at most this long", "x" * 300, "long" * 20_000, "line\nline", "ü‱𝕏", "p99999999999\n", "}s."],
    [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [[[[]]]], TWICE, TWICE],
    [[item, str(item)] for item in range(2_000)],
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_are_read_whatever_the_protocol(protocol, tmp_path):
    # Old protocols call something for bytes.
    content = [PLAIN[0][:-1], *PLAIN[1:]] if protocol < 3 else PLAIN
    for written in (pickle.dumps(content, protocol), pickletools.optimize(pickle.dumps(content, protocol))):
        (tmp_path / "train.txt").write_bytes(written)
        assert load_plain(tmp_path / "train.txt") == content


COSTLY = {
    "a key that takes 2^60 steps to hash": b"\x80\x02}K\x01\x85" + b"2\x86" * 60 + b"K\x01s.",
    "the same in a set": b"\x80\x04\x8f(K\x01\x85" + b"2\x86" * 60 + b"\x90.",
    "the same in a set that cannot change": b"\x80\x04(K\x01\x85" + b"2\x86" * 60 + b"\x91.",
    "the same in a dictionary of the first protocol": b"(I1\n\x85" + b"2\x86" * 60 + b"I1\nd.",
    "a key a million deep": b"\x80\x02}K\x01" + b"\x85" * 10**6 + b"K\x01s.",
    "an object numbered 2^30": b"\x80\x02]r\xff\xff\xff\x3f.",
    "an object numbered 10^9": b"(lp1000000000\n.",
    "behind a text that is long": b"\x80\x02X\x00\x10\x00\x00" + b"x" * 4096 + b"0]r\xff\xff\xff\x3f.",
    "behind many small steps": b"\x80\x02]" + b"K\x01a" * 5_000 + b"}K\x01\x85" + b"2\x86" * 60 + b"K\x01s.",
}


@pytest.mark.parametrize("what", COSTLY)
def test_a_pickle_that_costs_more_than_its_size_is_refused_before_it_is_read(what, tmp_path):
    (tmp_path / "train.txt").write_bytes(COSTLY[what])
    with pytest.raises(UserError, match=r"train\.txt: the pickle holds more than a list of sessions"):
        load_plain(tmp_path / "train.txt")


def test_what_is_let_through_makes_plain_data_only():
    """The steps are told apart as Python's reader does: nothing hides behind a length or a line's end."""

    class Names(pickle.Unpickler):
        def find_class(self, module, name):
            raise UserError(name)

    import io

    rng, read = random.Random("steps"), 0
    whole = [pickle.dumps(PLAIN[:3], protocol) for protocol in range(3, 6)] + [pickle.dumps([[1, "a"]] * 9, 0)]
    for _ in range(4_000):
        content = bytearray(rng.choice(whole))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(content))
            content[at : at + rng.choice((0, 1, 5))] = rng.choice(
                (b"}", b"\x8f", b"u", b"s", b"\x91", b"2", b"I1\n", b"")
            )
        try:
            check_steps(bytes(content))
            found = Names(io.BytesIO(content)).load()
        except Exception:
            continue
        read += 1
        waiting, seen = [found], set()
        while waiting:
            one = waiting.pop()
            assert isinstance(one, list | tuple | int | float | str | bytes | None), (bytes(content), one)
            if isinstance(one, list | tuple) and id(one) not in seen:
                seen.add(id(one))
                waiting += one
    assert read > 100
