"""What surrounds a run while it lasts: its log and lock, repeatable operations, and errors in one line."""

from __future__ import annotations

import logging
import traceback
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.utils.deterministic

from recbole_tme.config.load import SessionConfig
from recbole_tme.errors import PluginError, UserError
from recbole_tme.evaluation.protocol import Protocol
from recbole_tme.evaluation.ranks import NonFiniteScores
from recbole_tme.models.plugins import blaming
from recbole_tme.nn import distributed
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.utils import terminal
from recbole_tme.utils.files import alone_in, writing

logger = logging.getLogger()


def introduce(
    config: SessionConfig, protocol: Protocol, directory: RunDirectory, model: torch.nn.Module | None = None
) -> None:
    """Say what is about to be trained, where and on what, and that the model chose another loss than the usual one."""
    logger.info("run directory: %s", directory.path)
    if not distributed.is_main():
        return
    threads = torch.get_num_threads()
    device = config["device"].type if config["device"].type != "cpu" else f"CPU, {threads} thread{'s'[: threads != 1]}"
    loss = getattr(model, "loss_type", "full") if config["loss_type"] == "auto" else "full"
    named = "" if loss == "full" else f", loss_type: {loss}"
    terminal.say_folded(
        f"{config.registered_name} on {config['dataset']}, seed {config['seed']}: {protocol.train_instances:,} "
        f"training instances, {protocol.items:,} items, {device}{named}",
        indent="  ",
    )
    terminal.say(f"run directory: {directory.path}")


@contextmanager
def blaming_plugin(directory: RunDirectory, config: SessionConfig, resuming: bool):
    """Turn what a third party's model raises into one line. Where there are epochs to resume from, the log gets the
    traceback; else there is nothing to keep, and the directory is removed.

    Raises:
        PluginError: in the place of what the model raised; names its file, line and class.
    """
    try:
        with blaming(config.model_class):
            yield
    except PluginError as error:
        if not distributed.is_main():
            raise
        if not resuming and not directory.resumable:
            directory.remove()
            raise
        with writing(directory.log_file), directory.log_file.open("a", encoding="utf-8") as log:
            log.writelines(traceback.format_exception(error.__cause__ or error))
        raise PluginError(f"{error}; the traceback is in {directory.log_file}") from error.__cause__


@contextmanager
def refusing_nan():
    """Turn scores of NaN into one line that says what to do."""
    try:
        yield
    except NonFiniteScores as error:
        raise UserError(f"{error}; lower learning_rate or set clip_grad_norm") from error


@contextmanager
def deterministic(wanted: bool):
    """Make torch's operations repeatable bit for bit while a run lasts.

    A seed alone is not enough: with several threads, gradients of indexing are added up in the order in which the
    threads happen to arrive. Operations that have no repeatable form only warn.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filling = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(wanted, warn_only=True)
    # Every tensor is written before it is read; filling them first would only cost time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory = filling  # type: ignore[attr-defined]


@contextmanager
def working_in(directory: RunDirectory):
    """Keep other runs out of the directory and its log up to date while a run lasts; in the main process."""
    if not distributed.is_main():
        yield
        return
    with alone_in(directory.path), logging_to(directory.log_file):
        yield


def tell(text: str) -> None:
    """Log lines, and say them to whoever watches."""
    logger.info(text)
    if terminal.output() != terminal.VERBOSE:
        for line in text.splitlines():
            terminal.say_folded(line, indent="  ")


class ToTerminal(logging.Handler):
    """Shows warnings, and with ``--verbose`` all that is logged."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            terminal.warn(record.getMessage().removeprefix("warning: "))
        else:
            for line in record.getMessage().splitlines():
                terminal.detail(line)


@contextmanager
def logging_to(path: Path):
    """Send log lines to a file, and warnings to whoever watches; with ``--verbose`` everything."""
    with writing(path):
        to_file = logging.FileHandler(path, encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handlers: list[logging.Handler] = [to_file, ToTerminal()]
    before = logger.level
    logger.setLevel(logging.INFO)
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        logger.setLevel(before)
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
