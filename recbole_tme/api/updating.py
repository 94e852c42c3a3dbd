"""A finished run carried over to a newer log, as an object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recbole_tme.api.running import PathLike, Run, overrides, paths
from recbole_tme.data.prepare import PrepareOptions
from recbole_tme.evaluation.summary import shown_name
from recbole_tme.runs.find import named_run
from recbole_tme.runs.lineage import read_lineage
from recbole_tme.updating import update as updating

OF_THE_UPDATE = tuple(updating.UpdateOptions.__dataclass_fields__)


@dataclass(frozen=True)
class Updated:
    """An update; made by :func:`update`. Printed, it says what was new, and how both models did.

    Attributes:
        run: the new run.
        promoted: whether it takes the old one's place.
        lineage: the content of its ``lineage.json``.
    """

    run: Run
    promoted: bool
    lineage: dict[str, Any]

    @property
    def before(self) -> dict[str, float]:
        """The old model's metrics on the latest sessions, in per cent."""
        return {shown_name(name): 100 * value for name, value in self.lineage["before"].items()}

    @property
    def after(self) -> dict[str, float]:
        """The new model's."""
        return {shown_name(name): 100 * value for name, value in self.lineage["after"].items()}

    def __str__(self) -> str:
        return f"{updating.report(self.lineage)}\nrun directory: {self.run.path}"


def update(path: PathLike, logs: PathLike | Sequence[PathLike], **options: Any) -> Updated:
    """Carry a finished run's model over to the sessions that ended since.

    Args:
        path: the run's directory, a link to one, which a promotion makes lead to the new run, a folder of runs (the
            newest), or ``"latest"``.
        logs: a file, or several, of a click log; sessions that the run's data set holds already are skipped.
        **options: those of :class:`~recbole_tme.updating.update.UpdateOptions`, such as ``epochs``; those of
            :class:`~recbole_tme.data.prepare.PrepareOptions` for the columns of the log, by default as the data set was
            prepared; and settings of this machine, such as ``device``.

    Raises:
        UserError: there is no finished run, its data set has changed, or the log is not well formed, older than the
            data set or of another catalogue.

    Example:
        >>> recbole_tme.update("runs/shop", "clicks/monday.csv").promoted  # doctest: +SKIP
    """
    how = {key: options.pop(key) for key in OF_THE_UPDATE if key in options}
    reading = {key: options.pop(key) for key in list(options) if key in PrepareOptions.__dataclass_fields__}
    directory = updating.update(
        named_run(path),
        paths(logs),
        reading,
        updating.UpdateOptions(**how),
        overrides(options),
    )
    lineage = read_lineage(directory)
    return Updated(Run(directory.path), lineage["promoted"], lineage)
