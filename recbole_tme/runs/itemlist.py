"""The items of a trained model, with what recommending needs to know of them besides the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from recbole_tme.errors import UserError
from recbole_tme.utils.files import write_json
from recbole_tme.utils.shapes import read_json

SHAPE = {"items": [str], "clicks": [int], "titles": {str: str}}


@dataclass(frozen=True)
class ItemList:
    """A catalogue without its padding.

    Attributes:
        ids: external item ids; ``ids[i]`` is the model's item ``i + 1``.
        clicks: each item's clicks in training, int64 ``[N]``.
        titles: readable name per external item id, where the data set has any.
    """

    ids: list[str]
    clicks: np.ndarray
    titles: dict[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the list as JSON.

        Raises:
            UserError: the directory is read-only or the disk is full.
        """
        content = {"items": self.ids, "clicks": self.clicks.tolist(), "titles": self.titles}
        write_json(path, content, indent=None)

    @classmethod
    def read(cls, path: Path) -> ItemList:
        """Read what :meth:`write` wrote.

        Raises:
            UserError: the file is missing, damaged or something else.
        """
        content = read_json(path, SHAPE, "this is not a readable item list; make it again")
        ids, titles = content["items"], content["titles"]
        try:
            clicks = np.array(content["clicks"], dtype=np.int64)
        except OverflowError as error:
            raise UserError(f"{path}: a number of clicks is out of range; make it again") from error
        if clicks.shape != (len(ids),):
            raise UserError(f"{path} has {len(ids)} items but {clicks.size} numbers of clicks; make it again")
        return cls(ids, clicks, titles)
