"""What the processor and the C library can do, and how memory is handed back."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Numbers of the settings in the C library's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def has_fast_bfloat16(device) -> bool:
    """Whether a device multiplies bfloat16 in hardware, several times faster than float32.

    torch says so publicly for GPUs only; its own dispatcher for CPUs asks the functions used here, which a later
    version may rename: then the answer is no, and products stay in float32.

    Args:
        device: a ``torch.device``.
    """
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    asked = (getattr(torch.cpu, f"_is_{feature}_supported", None) for feature in ("avx512_bf16", "amx_tile"))
    return device.type == "cpu" and any(supports is not None and supports() for supports in asked)


def local_cpus() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch compute on the calling thread alone while the block runs.

    Work of a few milliseconds is over before its helpers have woken up, and where another process has their core every
    step waits until the system gives it back: tens of milliseconds each time.
    """
    import torch

    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Let this process reuse the memory it frees instead of returning it to the system each time.

    A training step allocates and frees the same large tensors. The C library hands such blocks back at once, and the
    kernel clears every page again when they are wanted next: with the default settings up to a quarter of a step's CPU
    time. The peak does not change, but what a peak took stays with the process. Nothing happens where the C library
    has no such settings.
    """
    libc = _c_library()
    if libc is not None and hasattr(libc, "mallopt"):
        for setting in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
            libc.mallopt(setting, 2**31 - 1)


def return_freed_memory() -> None:
    """Hand the memory that this process has freed back to the system, once.

    The C library keeps what lies between blocks in use. After a text file is read that is most of what its parser took,
    several times what was found in it. Nothing happens where the C library has no such function.
    """
    libc = _c_library()
    if libc is not None and hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def _c_library() -> ctypes.CDLL | None:
    """The C library where it may have glibc's functions, else None."""
    return ctypes.CDLL(None) if sys.platform == "linux" else None
