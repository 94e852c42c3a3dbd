"""What is asked of the processor and of the C library, in processes of their own."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from recbole_tme.utils import hardware

ROOT = Path(__file__).parents[2]


def test_fast_bfloat16_is_what_the_processor_says():
    flags = Path("/proc/cpuinfo")
    if not flags.exists():
        pytest.skip("needs /proc/cpuinfo to compare with")
    words = set(flags.read_text().split())
    assert hardware.has_fast_bfloat16(torch.device("cpu")) == bool(words & {"avx512_bf16", "amx_tile"})


def test_fast_bfloat16_is_denied_where_torch_no_longer_answers(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert hardware.has_fast_bfloat16(torch.device("cpu")) is False


FAULTS = """
import resource, sys, torch
from recbole_tme.utils.hardware import keep_freed_memory

def pages_cleared():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        # As the loss does: the blocks of a chunk together, then none. The one of 160 MB is far above what imports may
        # have left free in the heap: smaller ones may find room there and stay by luck, under the defaults too.
        blocks = [torch.ones(3_000_000), torch.ones(40_000_000), torch.ones(3_000_000)]
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
    assert default > 100_000 and kept < default / 2


RETURNED = """
import re
from pathlib import Path
import numpy as np
from recbole_tme.utils.hardware import return_freed_memory

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


@pytest.mark.parametrize("function", [hardware.keep_freed_memory, hardware.return_freed_memory])
def test_freed_memory_is_left_alone_where_the_c_library_has_nothing_for_it(function, monkeypatch):
    monkeypatch.setattr(hardware.ctypes, "CDLL", lambda name: object())
    function()
    monkeypatch.setattr(hardware.sys, "platform", "darwin")
    monkeypatch.setattr(hardware.ctypes, "CDLL", lambda name: pytest.fail("looked for"))
    function()
