"""Model names to model classes: ours, plugins, entry points and RecBole's own sequential models."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from recbole_tme.errors import PluginError, UserError
from recbole_tme.models.builtin import discovery
from recbole_tme.models.builtin.discovery import first_line
from recbole_tme.models.plugins import execute, one_line
from recbole_tme.schema.keys import property_keys
from recbole_tme.schema.property_files import properties_root
from recbole_tme.utils.spelling import did_you_mean

OUR_MODELS = {
    "ATSRec": "recbole_tme.models.atsrec:ATSRec",
    "Blend": "recbole_tme.models.blend:Blend",
    "DANSeR": "recbole_tme.models.danser:DANSeR",
    "SRGNN": "recbole_tme.models.srgnn:SRGNN",
    "TMEGNN": "recbole_tme.models.tmegnn:TMEGNN",
    "TMEGNNDP": "recbole_tme.models.tmegnndp:TMEGNNDP",
    "LastItemKNN": "recbole_tme.models.training_free.last_item_knn:LastItemKNN",
    "BaselineMix": "recbole_tme.models.training_free.mix:BaselineMix",
    "OwnItems": "recbole_tme.models.training_free.own_items:OwnItems",
    "OwnItemsFirst": "recbole_tme.models.training_free.mix:OwnItemsFirst",
    "SFSKNN": "recbole_tme.models.training_free.sfsknn:SFSKNN",
    "SKNN": "recbole_tme.models.training_free.sknn:SKNN",
    "SPop": "recbole_tme.models.training_free.spop:SPop",
    "SPopSTAN": "recbole_tme.models.training_free.spop_stan:SPopSTAN",
    "SR": "recbole_tme.models.training_free.sr:SR",
    "STAN": "recbole_tme.models.training_free.stan:STAN",
    "VSKNN": "recbole_tme.models.training_free.vsknn:VSKNN",
    "VSTAN": "recbole_tme.models.training_free.vstan:VSTAN",
}
ENTRY_POINT_GROUP = "recbole_tme.models"
BUILTIN_PREFIX = "recbole:"
BACKBONE_SIGN = "+"

_plugins: dict[str, type] = {}
_plugin_files: dict[Path, list[str]] = {}


@dataclass(frozen=True)
class ModelInfo:
    """A model's name, where it comes from ("ours", "plugin", "entry point", "RecBole") and one line about it."""

    name: str
    origin: str
    description: str


def resolve(name: str) -> type:
    """The class of a model name.

    ``recbole:NAME`` is RecBole's built-in model; a plain name is ours, a plugin's or an entry point's, else RecBole's.
    ``NAME+BACKBONE`` is a model that trains another one, with that one.

    Raises:
        UserError: unknown name (with the nearest one), a broken entry point, or a RecBole model that needs more than
            sessions.
    """
    outer, plus, backbone = name.partition(BACKBONE_SIGN)
    if plus and takes_backbone(resolve(outer)):
        return with_backbone(resolve(outer), backbone)
    if name.startswith(BUILTIN_PREFIX):
        return _resolve_builtin(name.removeprefix(BUILTIN_PREFIX))
    model_class = find_external(name)
    return _resolve_builtin(name) if model_class is None else model_class


def takes_backbone(model_class: type) -> bool:
    """Whether a model trains another one: it has a method ``around(backbone_class)`` that makes the class that runs,
    and its ``backbone_class`` is None until then."""
    return hasattr(model_class, "around")


def with_backbone(model_class: type, name: str | None) -> type:
    """The class that runs, of a model that :func:`takes_backbone`.

    Args:
        model_class: the model, with or without its backbone.
        name: the backbone's name; None takes the one it has, else the default of the model's property file.

    Returns:
        The class; where the model takes no backbone and none is named, the model itself.

    Raises:
        UserError: the name is no model's (with the nearest one), or the model takes no backbone or has another one.
    """
    if not takes_backbone(model_class):
        if name is not None:
            raise UserError(f"backbone: {model_class.__name__} takes none; a model such as ATSRec does")
        return model_class
    if name is None:
        if model_class.backbone_class is not None:
            return model_class
        name = property_keys(property_file(model_class))["backbone"].default
    try:
        backbone_class = resolve(name)
    except UserError as error:
        raise UserError(f"backbone: {error}") from error
    if model_class.backbone_class not in (None, backbone_class):
        raise UserError(f"backbone: {name} is not that of {model_class.__name__}; leave one of the two out")
    return model_class.around(backbone_class)


def is_seed_independent(model_class: type) -> bool:
    """Whether a model is a function of the training sessions alone, so that no seed can change its result.

    Only of our own models is it known that they draw no random number.
    """
    from recbole_tme.models.training_free.base import TrainingFree

    return issubclass(model_class, TrainingFree) and model_class.__module__.startswith("recbole_tme.")


def innermost(model_class: type) -> type:
    """The backbone of a model that has one, any other class itself."""
    return getattr(model_class, "backbone_class", None) or model_class


def external_names() -> list[str]:
    """Names of the models that RecBole does not provide."""
    return [*OUR_MODELS, *_plugins, *(entry.name for entry in _entry_points())]


def find_external(name: str, ignore_case: bool = False) -> type | None:
    """The class of a name that RecBole does not provide, or None.

    Args:
        name: a model name.
        ignore_case: match ``tmegnn`` with ``TMEGNN``, as RecBole's module names require.

    Raises:
        UserError: the entry point of that name is broken or provided twice.
    """

    def same(other: str) -> bool:
        return other.lower() == name.lower() if ignore_case else other == name

    for ours, target in OUR_MODELS.items():
        if same(ours):
            module, _, attribute = target.partition(":")
            return getattr(importlib.import_module(module), attribute)
    for plugin, model_class in _plugins.items():
        if same(plugin):
            return model_class
    found = [entry for entry in _entry_points() if same(entry.name)]
    if len({entry.value for entry in found}) > 1:
        providers = ", ".join(sorted(_provider(entry) for entry in found))
        raise UserError(f"model {name} is provided by more than one package ({providers}); uninstall all but one")
    return _load_entry_point(found[0]) if found else None


def load_plugin(path: Path | str) -> list[str]:
    """Register the models that a Python file defines; loading a file again changes nothing.

    Each subclass of RecBole's ``SequentialRecommender`` defined in the file is a model. Its defaults are the
    ``<Model>.yaml`` beside the file, or its class attribute ``defaults``.

    Returns:
        The names of the file's models.

    Raises:
        UserError: the file is missing, raises (names its line), defines no model, or a name is taken.
    """
    path = Path(path).expanduser().resolve()
    if path in _plugin_files:
        return list(_plugin_files[path])
    if not path.is_file():
        raise UserError(f"plugin {path} {'is no file' if path.exists() else 'does not exist'}; name a Python file")
    module = execute(path)
    try:
        models = _models_of(module, path)
    except UserError:
        del sys.modules[module.__name__]
        raise
    _plugins.update(models)
    _plugin_files[path] = list(models)
    return list(models)


def plugin_files() -> list[Path]:
    """The plugin files that are loaded."""
    return list(_plugin_files)


def plugin_file(model_class: type) -> Path | None:
    """The plugin file that defines a class, or its backbone, or None."""
    for path, names in _plugin_files.items():
        if any(_plugins[name] is innermost(model_class) for name in names):
            return path
    return None


def registered_name(model_class: type) -> str:
    """The name that :func:`resolve` turns into this very class, whatever models are added later."""
    return (BUILTIN_PREFIX if discovery.is_builtin(model_class) else "") + model_class.__name__


def wrapped_name(outer: str, backbone_class: type) -> str:
    """Name of a model with its backbone, such as ``ATSRec+SASRec``; RecBole's own models carry their prefix where
    another one has their name."""
    backbone = registered_name(backbone_class)
    plain = backbone.removeprefix(BUILTIN_PREFIX)
    return f"{outer}{BACKBONE_SIGN}{backbone if plain in external_names() else plain}"


def naming_settings(model_class: type) -> dict[str, str]:
    """The settings that name a class: ``model`` and, where it has one, ``backbone``."""
    if not takes_backbone(model_class):
        return {"model": registered_name(model_class)}
    outer = model_class.__name__.partition(BACKBONE_SIGN)[0]
    return {"model": outer, "backbone": registered_name(model_class.backbone_class)}


def source_file(model_class: type) -> Path:
    """The Python file that defines a model class; for one that is defined in a notebook, a name that is no file."""
    try:
        return Path(inspect.getfile(model_class))
    except (OSError, TypeError):
        return Path(f"<{model_class.__module__}>")


def is_third_party(model_class: type) -> bool:
    """Whether a class is neither ours nor RecBole's; one of ours around a third party's backbone is ours."""
    return not discovery.is_builtin(model_class) and not model_class.__module__.startswith("recbole_tme.")


def property_file(model_class: type) -> Path | None:
    """The YAML file with a model's defaults, or None where it has none."""
    name = f"{model_class.__name__}.yaml"
    if is_third_party(model_class):
        path = source_file(model_class).with_name(name)
    else:
        root = discovery.root() / "properties" if discovery.is_builtin(model_class) else properties_root()
        path = root / "model" / name
    return path if path.is_file() else None


def lineage(model_class: type) -> list[type]:
    """The class and the models it is derived from, the most basic first; a model inherits its ancestors' settings."""
    return [cls for cls in reversed(model_class.__mro__) if hasattr(cls, "calculate_loss") and not is_base(cls)]


def is_base(cls: type) -> bool:
    """Whether a class is one of RecBole's abstract models."""
    return cls.__module__ == "recbole.model.abstract_recommender"


def list_models() -> list[ModelInfo]:
    """Every model that can be named, ours first, without importing RecBole's."""
    models = [ModelInfo(name, "ours", _describe_target(target)) for name, target in OUR_MODELS.items()]
    models += [ModelInfo(name, "plugin", first_line(cls.__doc__)) for name, cls in sorted(_plugins.items())]
    for entry in sorted(_entry_points(), key=lambda entry: entry.name):
        try:
            description = first_line(_load_entry_point(entry).__doc__)
        except UserError as error:
            description = f"broken: {error}"
        models.append(ModelInfo(entry.name, "entry point", description))
    taken = {model.name for model in models}
    for name, description in sorted(discovery.sequential_models().items()):
        if name not in discovery.REFUSED:
            models.append(ModelInfo(f"{BUILTIN_PREFIX}{name}" if name in taken else name, "RecBole", description))
    return models


def unknown_model(name: str, sequential_only: bool = True) -> UserError:
    """The error for a name that is no model's, with the nearest name that is one."""
    builtin = discovery.sequential_models() if sequential_only else discovery.names()
    hint = did_you_mean(name.removeprefix(BUILTIN_PREFIX), [*external_names(), *builtin])
    return UserError(f"unknown model {name!r}{hint or '; recbole-tme list models shows all'}")


def _resolve_builtin(name: str) -> type:
    if name in discovery.REFUSED:
        raise UserError(f"RecBole's {name} cannot run on session data: {discovery.REFUSED[name]}")
    if name in discovery.sequential_models():
        return getattr(importlib.import_module(f"{discovery.PACKAGE}.{name.lower()}"), name)
    if name in discovery.names():
        raise UserError(f"RecBole's {name} is not a sequential model; recbole-tme list models shows those that are")
    raise unknown_model(name)


def _describe_target(target: str) -> str:
    module, _, attribute = target.partition(":")
    path = Path(__file__).parents[1].joinpath(*module.split(".")[1:]).with_suffix(".py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == attribute:
            return first_line(ast.get_docstring(node))
    raise LookupError(f"{path} defines no class {attribute}")


def _entry_points() -> list[importlib.metadata.EntryPoint]:
    return list(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP))


def _provider(entry: importlib.metadata.EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value


def _load_entry_point(entry: importlib.metadata.EntryPoint) -> type:
    where = f"model {entry.name} of the package {_provider(entry)}"
    if entry.name in OUR_MODELS:
        raise UserError(f"{where} has the name of one of our models; uninstall that package or have it renamed")
    try:
        model_class = entry.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(f"{where} ({entry.value}) cannot be imported: {one_line(error)}") from error
    if not _is_model(model_class):
        raise UserError(f"{where} ({entry.value}) is not a subclass of RecBole's SequentialRecommender")
    if model_class.__name__ != entry.name:
        raise UserError(f"{where} is a class named {model_class.__name__}; entry point and class need one name")
    return model_class


def _is_model(value: object) -> bool:
    from recbole.model.abstract_recommender import SequentialRecommender

    return inspect.isclass(value) and issubclass(value, SequentialRecommender) and value is not SequentialRecommender


def _models_of(module: ModuleType, path: Path) -> dict[str, type]:
    """The models a plugin defines itself, not those it imports, by name."""
    defined = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    models = {value.__name__: value for value in defined if _is_model(value) and not value.__name__.startswith("_")}
    if not models:
        classes = [cls for cls in defined if inspect.isclass(cls)]
        found = f" ({classes[0].__name__} is derived from {classes[0].__base__.__name__})" if classes else ""
        raise UserError(f"plugin {path} defines no model: no class derived from RecBole's SequentialRecommender{found}")
    for name in models:
        owner = "this package" if name in OUR_MODELS else _plugin_owner(name)
        if owner or any(entry.name == name for entry in _entry_points()):
            raise UserError(f"plugin {path}: the model name {name} is taken by {owner or 'an installed package'}")
    return models


def _plugin_owner(name: str) -> str:
    return next((str(path) for path, names in _plugin_files.items() if name in names), "")
