"""One import hook that lets RecBole find our models by name and applies what
:mod:`~recbole_tme.recbole_patches.patches`, :mod:`~recbole_tme.recbole_patches.stock` and
:mod:`~recbole_tme.recbole_patches.trainer` change in it.

RecBole looks a model up as the module ``recbole.model.sequential_recommender.<name in lower case>``. The hook answers
for models that RecBole does not have, and never for a name that it has.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable
from contextlib import nullcontext
from types import ModuleType

from recbole_tme.models import registry
from recbole_tme.models.builtin import discovery
from recbole_tme.recbole_patches import patches, stock
from recbole_tme.utils.installing import recbole_missing


def patch_trainer(module: ModuleType) -> None:
    """As :func:`recbole_tme.recbole_patches.trainer.patch_trainer`, whose module imports torch: only now."""
    from recbole_tme.recbole_patches import trainer

    trainer.patch_trainer(module)


# What is done to a module of RecBole once it has been executed.
PATCHES: dict[str, Callable[[ModuleType], None]] = {
    "recbole.utils.utils": patches.patch_utils,
    "recbole.evaluator.collector": patches.patch_collector,
    "recbole.config.configurator": stock.patch_configurator,
    "recbole.data.dataset.dataset": patches.patch_dataset,
    "recbole.trainer.trainer": patch_trainer,
    "recbole.quick_start.quick_start": stock.patch_quick_start,
}


class RecBoleFinder(importlib.abc.MetaPathFinder):
    """Finds our models as RecBole's modules, and patches RecBole's own modules as they are imported.

    Where RecBole is not installed, importing it (and looking it up by ``importlib.util.find_spec``) is a
    ModuleNotFoundError that says what to run: pip cannot install it along with this package from Python 3.12 on.
    """

    def find_spec(self, fullname, path=None, target=None):
        if fullname == "recbole" and self._real_spec(fullname, path, target) is None:
            raise ModuleNotFoundError(recbole_missing(), name="recbole")
        if fullname in PATCHES or fullname == discovery.PACKAGE:
            return self._patched(self._real_spec(fullname, path, target))
        package, _, name = fullname.rpartition(".")
        if package != discovery.PACKAGE or self._real_spec(fullname, path, target) is not None:
            return None
        known = name in {external.lower() for external in registry.external_names()}
        return importlib.machinery.ModuleSpec(fullname, _ModelLoader(name)) if known else None

    def _real_spec(self, fullname, path, target):
        """What the import system would find without this finder."""
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(fullname, path, target)
                if spec is not None:
                    return spec
        return None

    def _patched(self, spec):
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module
        keeping = patches.keeping_anomaly_mode if spec.name == discovery.PACKAGE else nullcontext

        def exec_module(module: ModuleType) -> None:
            with keeping():
                execute(module)
            if spec.name in PATCHES:
                PATCHES[spec.name](module)

        # On the instance, so that the loader keeps its type: inspect and importlib.resources ask for it.
        spec.loader.exec_module = exec_module
        return spec


class _ModelLoader(importlib.abc.Loader):
    """Makes the module that RecBole expects, holding the real class: there is one class object, not two."""

    def __init__(self, name: str):
        self.name = name

    def exec_module(self, module: ModuleType) -> None:
        model_class = registry.find_external(self.name, ignore_case=True)
        assert model_class is not None, "the finder made this loader for a known name"
        setattr(module, model_class.__name__, model_class)


def install() -> None:
    """Put the hook in place, once; what RecBole has imported already is patched at once."""
    # By name: after a reload the class is another object.
    if any(type(finder).__name__ == RecBoleFinder.__name__ for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, RecBoleFinder())
    for name, patch in PATCHES.items():
        if name in sys.modules:
            patch(sys.modules[name])
    if discovery.PACKAGE in sys.modules:
        patches.switch_anomaly_mode_off()
