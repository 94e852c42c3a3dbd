"""What is changed in RecBole so that it works beside current NumPy, pandas and torch.

Each function says why and from which version on it is needed, all of them up to the newest that is tested; the tests of
this module fail for each once it no longer is.
"""

from __future__ import annotations

import functools
import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from recbole_tme.errors import UserError
from recbole_tme.models import registry
from recbole_tme.utils.versions import version_tuple

# What RecBole 1.2.1 names, and what it means by it (configurator.py: Config.compatibility_settings).
_NUMPY_ALIASES = {
    "bool": "bool_",
    "int": "int_",
    "float": "float64",
    "complex": "complex128",
    "object": "object_",
    "str": "str_",
    "long": "int_",
    "unicode": "str_",
    "float_": "float64",
    "complex_": "complex128",
    "unicode_": "str_",
}


def install_numpy_aliases(config=None) -> None:
    """Give NumPy the names it dropped in 1.24 and 2.0. Needed from NumPy 1.24 on, in part; from 2.0 on for any run.

    RecBole's metrics and interactions use ``np.float`` and the like, which RecBole itself defines only when a
    ``Config`` is constructed, so that a model loaded in a fresh process cannot be evaluated; and under NumPy 2 that
    constructor fails at ``np.float_``. Names that NumPy has are left alone.

    Args:
        config: ignored; lets this function stand in for ``Config.compatibility_settings``.
    """
    import numpy as np

    for alias, name in _NUMPY_ALIASES.items():
        if alias not in vars(np):
            setattr(np, alias, getattr(np, name))


@contextmanager
def keeping_anomaly_mode():
    """Keep torch's anomaly detection as it was while RecBole's sequential models are imported. Needed with any torch.

    ``sine.py`` calls ``torch.autograd.set_detect_anomaly(True)`` at import, and the package imports it whatever the
    model: every training would run 1.3 times slower. A user's own choice, before or after, stands.
    """
    import torch

    before = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
    try:
        yield
    finally:
        torch.autograd.set_detect_anomaly(*before)


def switch_anomaly_mode_off() -> None:
    """Undo ``sine.py``'s global switch where RecBole's models were imported before this package; see
    :func:`keeping_anomaly_mode`."""
    import torch

    torch.autograd.set_detect_anomaly(False)


def patch_utils(module: ModuleType) -> None:
    """In ``recbole.utils.utils``: NumPy's old names, and an honest ``get_model``. Needed with any stack.

    For an unknown model RecBole's ``get_model`` goes on to import lightgbm and fails with ``No module named
    'lightgbm'``; for a name in the wrong case with an AttributeError.
    """
    install_numpy_aliases()
    original = module.get_model

    @functools.wraps(original)
    def get_model(model_name):
        failure: Exception
        try:
            return original(model_name)
        except ModuleNotFoundError as error:
            unknown = error.name in ("lightgbm", "xgboost") and error.name != model_name.lower()
            failure = error
        except AttributeError as error:
            unknown = f"has no attribute {model_name!r}" in str(error)
            failure = error
        except ValueError as error:
            unknown = "not the name of an existing model" in str(error)
            failure = error
        raise registry.unknown_model(model_name, sequential_only=False) if unknown else failure

    replace_everywhere(original, get_model)


def patch_collector(module: ModuleType) -> None:
    """In ``recbole.evaluator.collector``: numbers and counters among what is collected. Needed with any stack.

    RecBole calls ``.cpu()`` on all of it, so that each metric that needs the number of items or their clicks
    (ItemCoverage, GiniIndex, AveragePopularity, TailPercentage) dies in its first evaluation with ``'int' object has no
    attribute 'cpu'``.
    """
    original = module.Collector.get_data_struct

    @functools.wraps(original)
    def get_data_struct(self):
        collected = self.data_struct._data_dict
        plain = {name: value for name, value in collected.items() if not hasattr(value, "cpu")}
        self.data_struct._data_dict = {name: value for name, value in collected.items() if name not in plain}
        try:
            found = original(self)
        finally:
            self.data_struct._data_dict |= plain
        found._data_dict |= plain
        return found

    module.Collector.get_data_struct = get_data_struct


def patch_dataset(module: ModuleType) -> None:
    """In ``recbole.data.dataset.dataset``: refuse to load with pandas 3. Needed from pandas 3.0 on.

    RecBole fills missing values with ``frame[column].fillna(..., inplace=True)``, which does nothing under pandas 3's
    copy-on-write: NaN would reach the model. Presplit data dies in ``_remap``, where ``agg(len)`` now reduces. Our own
    session data set does not go through either.
    """
    import pandas

    if version_tuple(pandas.__version__) < (3,):
        return

    def from_scratch(self):
        raise UserError(
            f"RecBole's {type(self).__name__} does not work with pandas {pandas.__version__} (missing values stay "
            f"in the data unseen); pip install 'pandas<3', or run the model with recbole-tme"
        )

    module.Dataset._from_scratch = from_scratch


@contextmanager
def tensorboard_in(path: Path | str | None):
    """Let trainers that are constructed inside write TensorBoard files into ``path``, or none where it is None.

    RecBole's trainer always writes to ``./log_tensorboard``, whatever the configuration says. Needed with any stack.
    """
    from recbole.trainer import trainer
    from torch.utils.tensorboard import SummaryWriter

    original = trainer.get_tensorboard
    trainer.get_tensorboard = lambda logger: None if path is None else SummaryWriter(str(path))
    try:
        yield
    finally:
        trainer.get_tensorboard = original


def replace_everywhere(original, replacement) -> None:
    """Put a function in the place of another in every module of RecBole that has imported it."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "recbole" and vars(module).get(original.__name__) is original:
            setattr(module, original.__name__, replacement)
