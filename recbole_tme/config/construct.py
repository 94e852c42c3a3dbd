"""A model is constructed from settings in which every key that it reads has to be declared.

RecBole's ``Config`` answers None for a key that it does not have, so that a misspelt key is a setting that never works.
RecBole's own models rely on that; ours and third parties' get :class:`ModelSettings` in its place.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from recbole_tme.errors import PluginError
from recbole_tme.models import registry
from recbole_tme.models.builtin import discovery
from recbole_tme.models.plugins import blaming, foreign_files, is_foreign
from recbole_tme.schema.keys import keys_in_source
from recbole_tme.utils.spelling import did_you_mean

if TYPE_CHECKING:
    from torch import nn

    from recbole_tme.config.load import SessionConfig

# A model has to have one method of each group; RecBole's base class has them all, and they raise.
_REQUIRED = (("calculate_loss",), ("full_sort_predict", "predict"))


def construct(config: SessionConfig, dataset) -> nn.Module:
    """The model of a configuration, with fresh weights.

    Args:
        config: the resolved configuration.
        dataset: a data set, or what knows as much of one as the model asks for.

    Raises:
        PluginError: the model's code raises, reads a key that nothing declares, lacks a method or has no parameters;
            names its file, line and class.
    """
    model_class = config.model_class
    if discovery.is_builtin(model_class):
        return model_class(config, dataset)
    settings = ModelSettings(config)
    with blaming(model_class):
        model = model_class(settings, dataset)
        # Also where the model's own code has caught the error.
        if settings.refused is not None:
            raise settings.refused
        if is_foreign(model_class):
            _check_complete(model)
    return model


class ModelSettings:
    """A configuration as a model reads it: a key that nothing declares is an error, not None.

    Args:
        config: what is read from.

    Attributes:
        read: the keys that were read.
        refused: the first error for a key that nothing declares, or None.
    """

    def __init__(self, config: SessionConfig):
        self._config = config
        # RecBole's models ask for keys that no file of RecBole's declares, and so do models derived from them.
        self._tolerated = keys_in_source(config.model_class)
        self.read: set[str] = set()
        self.refused: PluginError | None = None

    def __getitem__(self, key: str) -> Any:
        self._check(key)
        return self._config[key]

    def __contains__(self, key: str) -> bool:
        self._check(key)
        return key in self._config

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a declared key; ``default`` is for the keys that RecBole's own models ask for."""
        present = key in self
        return self[key] if present else default

    def __setitem__(self, key: str, value: Any) -> None:
        self._config[key] = value

    def __getattr__(self, name: str) -> Any:
        # Private names are asked for by copying and pickling, before there is a configuration.
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return getattr(self._config, name)
        except AttributeError:
            self._check(name)
            raise

    def _check(self, key: str) -> None:
        self.read.add(key)
        if key in self._tolerated or (isinstance(key, str) and key in self._config):
            return
        caller = sys._getframe(1)
        while caller.f_code.co_filename == __file__ and caller.f_back is not None:
            caller = caller.f_back
        model_class = self._config.model_class
        name, place = registry.innermost(model_class).__name__, f"{caller.f_code.co_filename}:{caller.f_lineno}"
        hint = did_you_mean(str(key), self._config.final_config_dict)
        error = PluginError(
            f"{'plugin ' if is_foreign(model_class) else ''}{place}: class {name} reads the key {key!r}, which nothing "
            f"declares{f'{hint} Else declare' if hint else '; declare'} it in {name}.yaml beside the model's file, or "
            f"in the class attribute defaults"
        )
        self.refused = self.refused or error
        raise error


def _check_complete(model: nn.Module) -> None:
    """Refuse a model that cannot be trained or cannot predict.

    Raises:
        PluginError: a method is missing, or there is nothing to train.
    """
    model_class = type(model)
    said = f"plugin {foreign_files(model_class)[0]}: class {model_class.__name__}"
    for group in _REQUIRED:
        if not any(_is_defined(model_class, method) for method in group):
            raise PluginError(f"{said} does not define {' or '.join(group)}")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise PluginError(f"{said} has no parameters to train; a model of counts derives from TrainingFree")


def _is_defined(model_class: type, method: str) -> bool:
    """Whether a class has a method that is more than the one of a base class that raises."""
    for cls in model_class.__mro__:
        if method in vars(cls):
            return not registry.is_base(cls)
    return False
