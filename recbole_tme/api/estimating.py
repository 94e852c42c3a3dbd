"""What runs will take before they start, and how that is said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from recbole_tme.api.running import PathLike, load_plugins, overrides, paths
from recbole_tme.comparison.plan import Plan
from recbole_tme.comparison.runs import find_run
from recbole_tme.config.load import load_config
from recbole_tme.models.blend import Blend
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.utils import terminal

if TYPE_CHECKING:
    from recbole_tme.experiment.estimate import Estimate, Seconds


def estimate(
    model: str | type | None = None,
    dataset: str | None = None,
    *,
    config_files: Sequence[PathLike] | PathLike = (),
    plugin: Sequence[PathLike] | PathLike = (),
    **settings: Any,
) -> Estimate:
    """How much memory and time :func:`run` with the same arguments will take, from a few of its steps.

    Args:
        model, dataset, config_files, plugin, **settings: as for :func:`run`.

    Returns:
        Memory in bytes and times in seconds, on the clock and of the processors; ``total()`` is the whole run.

    Raises:
        UserError: as :func:`run`.
    """
    from recbole_tme.experiment.estimate import estimate as measured

    load_plugins(plugin)
    return measured(load_config(model, dataset, paths(config_files), overrides=overrides(settings)))


def lines(found: Estimate) -> Iterator[str]:
    """An estimate in words."""
    yield (
        f"{found.model} on {found.dataset}: {found.items:,} items, {found.instances:,} training instances, "
        f"{found.batches:,} batches an epoch"
    )
    if found.memory is not None:
        yield f"memory      {memory(found.memory)} at its peak"
    if found.gpu_memory is not None:
        yield f"GPU memory  {memory(found.gpu_memory)} at its peak"
    yield f"start       {duration(found.start)}"
    yield (
        f"an epoch    {duration(found.training + found.validation)}: training {duration(found.training)}, "
        f"validation {duration(found.validation)}"
    )
    yield f"the test    {duration(found.test)}"
    yield f"the run     {whole(found)}"
    yield f"measured from {found.steps} steps"


def plan_estimates(planned: Plan) -> Iterator[str]:
    """What the runs of a comparison that are still to be trained will take: a line per model, and all of them."""
    total = None
    for row in planned.rows:
        new = [config for config in row.configs if not _finished(find_run(config, planned.protocol.fingerprint))]
        if not new or issubclass(new[0].model_class, Blend):
            continue
        from recbole_tme.experiment.estimate import estimate as measured

        found = measured(new[0])
        part = found.total().times(len(new))
        total = part if total is None else total + part
        held = "" if found.memory is None else f"{memory(found.memory)}, "
        yield f"estimated for {row.name}: {held}{whole(found)}{f', {len(new)} times' if len(new) > 1 else ''}"
    if total is not None:
        yield f"estimated for all that is to be trained, one after the other: {duration(total)} at most"


def _finished(found: RunDirectory | None) -> bool:
    return found is not None and found.finished


def whole(found: Estimate) -> str:
    """The time of a run in words."""
    epochs = "1 epoch" if found.epochs == 1 else f"{found.epochs} epochs"
    again = ", trained twice" if found.retrains else ""
    return f"{duration(found.total())} for {epochs}{again}{', fewer may do' if found.stops_early else ''}"


def memory(amount: float) -> str:
    """Bytes, readable."""
    return f"{amount / 1e9:.2f} GB"


def duration(seconds: Seconds) -> str:
    """Time on the clock, and of the processors, readable."""
    return f"{terminal.duration(seconds.clock)} ({terminal.duration(seconds.cpu)} of CPU time)"
