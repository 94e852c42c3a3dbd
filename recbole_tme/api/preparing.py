"""Other people's files as a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from recbole_tme.api.running import PathLike
from recbole_tme.data import prepare as preparing
from recbole_tme.data.checks import audit, render
from recbole_tme.data.readers.atomic import read_dataset
from recbole_tme.data.record import Record


@dataclass(frozen=True)
class Prepared:
    """A data set on disk; made by :func:`prepare`. Printed, it says what was read, kept and dropped, and warns.

    Attributes:
        name: for ``run(dataset=...)``.
        path: its folder; ``run(data_path=...)`` takes the folder above.
    """

    name: str
    path: Path

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"

    def __str__(self) -> str:
        record = Record.from_json(self.path / f"{self.name}.json")
        return f"{record}\n{render(audit(read_dataset(self.path, self.name)))}"


def prepare(
    source: PathLike | Sequence[PathLike] | None = None,
    name: str = "",
    *,
    out: PathLike = "dataset_atomic",
    overwrite: bool = False,
    **options: Any,
) -> Prepared:
    """Turn a click log or published files into the atomic files of a data set.

    Args:
        source: a file, several files of one log, a pattern, a zip file or a folder; None where ``train`` and ``test``
            are among the options.
        name: name of the new data set.
        out: folder to put its folder in.
        overwrite: replace a data set of that name.
        **options: see :class:`~recbole_tme.data.prepare.PrepareOptions`.

    Raises:
        UserError: the input is wrong; nothing is written then.
    """
    path = preparing.prepare(source, name, Path(out), overwrite=overwrite, **options)
    return Prepared(name, path)
