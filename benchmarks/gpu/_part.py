"""What the parts share: their job, a clock for their device, and where they write what they have found so far."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


class Part:
    """One part of the day: what it was asked, and what it has found.

    Attributes:
        job: what ``day.py`` said.
        device: what is measured.
        text: lines of Markdown for the results.
    """

    def __init__(self) -> None:
        self.job = json.loads(sys.argv[1])
        self.device = torch.device(self.job["device"])
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise SystemExit("there is no GPU; --device=cpu")
        self.toy: bool = self.job["toy"]
        self.began = time.monotonic()
        self.text: list[str] = []
        self.figures: dict[str, Any] = {}
        # RecBole reads a process's arguments as settings.
        sys.argv = sys.argv[:1]
        if self.job["chunk_rows"]:
            use_chunks(self.job["chunk_rows"])

    @property
    def left(self) -> float:
        """Seconds that this part still has."""
        return self.job["seconds"] - (time.monotonic() - self.began)

    def save(self) -> None:
        """Write what there is; called after each finding, as the next one may be cut off."""
        Path(self.job["result"]).write_text(json.dumps(self.figures | {"text": self.text}), encoding="utf-8")

    def data(self, name: str = "tmall"):
        """A prepared data set with a tenth of its training sessions held out, or toy data."""
        from recbole_tme.data.readers.atomic import read_dataset
        from recbole_tme.data.split import validation_cut
        from recbole_tme.data.synthetic import toy

        return validation_cut(toy() if self.toy else read_dataset(Path(self.job["data"]) / name, name), 0.1)

    def seconds(self, work: Callable[[], Any], repeats: int = 1, warm_up: int = 1) -> float:
        """Median seconds of some work, the device's own included."""
        for _ in range(warm_up):
            work()
        return statistics.median(self._once(work) for _ in range(repeats))

    def _once(self, work: Callable[[], Any]) -> float:
        self.wait()
        began = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - began

    def wait(self) -> None:
        """Let the device finish what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def machine(self) -> str:
        """The device and the versions in a line."""
        from load import machine

        name = torch.cuda.get_device_name() if self.device.type == "cuda" else "on the CPU"
        return f"{name}; {machine()}"


def use_chunks(rows: int) -> None:
    """Let the catalogue loss form its scores in chunks of so many rows."""
    from recbole_tme.nn import losses

    for precision in losses.CHUNK_ROWS:
        losses.CHUNK_ROWS[precision] = rows


def tf32(on: bool) -> None:
    """Let float32 products on a GPU drop digits (TF32), or not."""
    torch.set_float32_matmul_precision("high" if on else "highest")
