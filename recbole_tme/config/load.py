"""The configuration: property files, the user's files, a dict and the command line, checked against the schema.

Precedence, low to high: RecBole's overall and sample files, our ``overall.yaml``, the model's file, the data set's
file, RecBole's essentials for sequential models, the user's files in order, a dict, the command line.
"""

from __future__ import annotations

import copy
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from recbole.config import Config

from recbole_tme.config import resolution
from recbole_tme.config.declared import base_keys, declared_keys, known_keys
from recbole_tme.config.ignored_keys import REPLACED, without_effect
from recbole_tme.config.plugin_key import load_named, require_loaded
from recbole_tme.config.result_settings import settings_hash
from recbole_tme.errors import UserError
from recbole_tme.models import registry
from recbole_tme.models.builtin import discovery
from recbole_tme.schema.keys import Key
from recbole_tme.schema.property_files import properties_root
from recbole_tme.schema.yamlfile import SettingsLoader, flow_text, parse_value, read_settings
from recbole_tme.utils.spelling import did_you_mean

DEFAULT_MODEL = "TMEGNN"
DEFAULT_DATASET = "ml100k-sessions"


class SessionConfig(Config):
    """RecBole's ``Config`` with checked settings; made by :func:`load_config`.

    Nothing is read from ``sys.argv``, evaluated, or written to the environment; ``data_path`` is the absolute folder
    of all data sets. It can be pickled, a plugin's model class included.

    Args:
        model_class: the model.
        dataset: the data set's name.
        defaults: what the property files say.
        settings: all effective settings as plain data, the user's among them.
        fixed: RecBole's values for what the settings imply (negative sampling, device), by key.
        given: those of the settings that are the user's.
    """

    def __init__(
        self,
        model_class: type,
        dataset: str,
        defaults: Mapping,
        settings: Mapping,
        fixed: Mapping,
        given: Mapping | None = None,
    ):
        self._given = dict(given or {})
        self._defaults = dict(defaults)
        self._settings = dict(settings)
        self._fixed = dict(fixed)
        super().__init__(model=model_class, dataset=dataset)

    @property
    def registered_name(self) -> str:
        """The model's name for ``--model``; RecBole's own models carry their prefix, ATSRec its backbone."""
        return registry.registered_name(self.model_class)

    def plain(self) -> dict[str, Any]:
        """The settings as plain data, sorted; written to a YAML file and read back, they give this configuration."""
        return copy.deepcopy(dict(sorted(self._settings.items())))

    def replaced(self, **settings: Any) -> SessionConfig:
        """This configuration with other values for some settings, which are not checked."""
        return SessionConfig(
            self.model_class,
            self["dataset"],
            self._defaults,
            self._settings | settings,
            self._fixed,
            self._given | settings,
        )

    @property
    def command(self) -> str:
        """The command line that repeats this configuration, from a notebook's settings as from a terminal's."""
        named = registry.naming_settings(self.model_class) | {"dataset": self._settings["dataset"]}
        given = {key: self._settings[key] for key in sorted(self._given.keys() - named.keys() - {"plugin"})}
        return command_line("run", named | {"plugin": self._settings["plugin"]}, given)

    def hash(self, ignore: Collection[str] = ()) -> str:
        """The :func:`settings_hash` of this configuration."""
        return settings_hash(self.plain(), ignore)

    def __getstate__(self) -> dict:
        # A plugin's class travels by name: the process that unpickles it has to load the file first.
        plugin = registry.plugin_file(self.model_class)
        return self.__dict__ | {"model_class": self.registered_name if plugin else self.model_class, "plugin": plugin}

    def __setstate__(self, state: dict) -> None:
        plugin = state.pop("plugin")
        self.__dict__.update(state)
        if plugin is not None:
            registry.load_plugin(plugin)
            self.model_class = registry.resolve(self.model_class)

    # The steps of RecBole's constructor, in its order.

    def _init_parameters_category(self):
        super()._init_parameters_category()
        # RecBole extends the lists in place, and they are its module's.
        self.parameters = {category: list(keys) for category, keys in self.parameters.items()}

    def _build_yaml_loader(self):
        return SettingsLoader

    def _load_config_files(self, file_list):
        return {}

    def _load_variable_config_dict(self, config_dict):
        return {k: v for k, v in self._settings.items() if k not in ("model", "dataset")}

    def _load_cmd_line(self):
        return {}

    def _get_model_and_dataset(self, model, dataset):
        # The name that RecBole's own functions look up.
        return self._settings["model"].removeprefix(registry.BUILTIN_PREFIX), model, dataset

    def _load_internal_config_dict(self, model, model_class, dataset):
        self.internal_config_dict = self._defaults | {"MODEL_TYPE": model_class.type}

    def _set_default_parameters(self):
        self.final_config_dict.update(copy.deepcopy(self._fixed))
        super()._set_default_parameters()
        # RecBole's is the folder of the one data set, and for ml-100k one inside RecBole.
        self.final_config_dict["data_path"] = self._settings["data_path"]

    def _init_device(self):
        # RecBole sets CUDA_VISIBLE_DEVICES here, which would undo a cluster's assignment of GPUs to workers.
        self.final_config_dict["single_spec"] = True
        self.final_config_dict["local_rank"] = 0


class Overrides(dict):
    """Settings from a command line.

    Attributes:
        texts: each value as typed; None for a bare ``--flag``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, str | None] = {}


def command_line(command: str, options: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """The command line that gives a sub-command some options of its own, as they are, and configuration keys, whose
    values :func:`parse_overrides` reads back. An option with a list is given once for each; None leaves it out."""
    words = []
    for name, value in options.items():
        values = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
        words += [f"--{name}={one}" for one in values]
    words += [f"--{key}={flow_text(value)}" for key, value in settings.items()]
    return shlex.join(["recbole-tme", command, *words])


def named_files(text: str) -> list[Path]:
    """The files of a ``--config_files`` option, separated by commas or spaces."""
    return [Path(name) for name in text.replace(",", " ").split()]


def parse_overrides(argv: Sequence[str]) -> Overrides:
    """Read ``--key=value``, ``--key value`` and, for keys that are true or false, ``--key``.

    Values are YAML scalars or flow collections (``[5, 10]``, ``{max_norm: 5}``), ``None`` is null, and nothing is
    evaluated.

    Raises:
        UserError: an argument that belongs to no key, or a key given two values.
    """
    overrides = Overrides()
    arguments = list(argv)
    while arguments:
        argument = arguments.pop(0)
        key, has_value, text = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not key:
            raise UserError(f"command line: {argument!r} belongs to no key; write --key=value")
        if not has_value:
            text = arguments.pop(0) if arguments and not arguments[0].startswith("--") else None
        if key in overrides and overrides.texts[key] != text:
            raise UserError(f"command line: --{key} is given twice with different values; keep one")
        overrides[key] = True if text is None else parse_value(text)
        overrides.texts[key] = text
    return overrides


@dataclass(frozen=True)
class _Layer:
    """Settings from one place of the user's, and how to name that place in a message."""

    where: str
    values: Mapping[str, Any]
    lines: Mapping[str, int] = field(default_factory=dict)
    texts: Mapping[str, str | None] = field(default_factory=dict)

    def place(self, key: str) -> str:
        return f"{self.where}:{self.lines[key]}" if key in self.lines else self.where


def load_config(
    model: str | type | None = None,
    dataset: str | None = None,
    config_files: Sequence[Path | str] = (),
    config_dict: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    ignore: Collection[str] = (),
) -> SessionConfig:
    """Resolve a configuration and check every value that the user gave.

    Args:
        model: name as for ``registry.resolve``, or a class; None takes the settings' ``model``, else the default model.
        dataset: the data set's name; None takes the settings' ``dataset``, else the default data set.
        config_files: YAML files, later ones win.
        config_dict: settings that beat the files.
        overrides: settings that beat everything, as from :func:`parse_overrides`. A plug-in that is named here is
            loaded; one that is named elsewhere has to be loaded already.
        ignore: keys to ignore wherever they stand, for settings that are shared with other models.

    Raises:
        UserError: an unknown key, model or word, a wrong type, an impossible value or combination, a broken file; names
            the key and the place it came from.
    """
    layers = [_Layer(str(f.path), f.values, lines=f.lines) for f in map(read_settings, map(Path, config_files))]
    layers.append(_Layer("config_dict", config_dict or {}))
    layers.append(_Layer("command line", overrides or {}, texts=getattr(overrides, "texts", {})))
    if ignore:
        layers = [replace(one, values={k: v for k, v in one.values.items() if k not in ignore}) for one in layers]
    plugins = _plugins(layers)
    named = model or _last(layers, "model") or DEFAULT_MODEL
    model_class = registry.resolve(named) if isinstance(named, str) else named
    if registry.takes_backbone(model_class):
        model_class = registry.with_backbone(model_class, _last(layers, "backbone"))
    dataset = dataset or _last(layers, "dataset") or DEFAULT_DATASET
    keys = declared_keys(model_class)
    defaults = _defaults(keys, dataset)
    given = _checked(layers, known_keys(model_class), defaults)
    resolution.name_loggers(given, defaults)
    settings = {k: v for k, v in (defaults | given).items() if k not in REPLACED}
    settings |= registry.naming_settings(model_class) | {"dataset": dataset}
    settings["data_path"] = str(Path(settings["data_path"]).expanduser().absolute())
    own_plugin = registry.plugin_file(model_class)
    settings["plugin"] = plugins or ([str(own_plugin)] if own_plugin else None)
    fixed = resolution.resolve(settings, given, model_class)
    return SessionConfig(model_class, dataset, defaults, settings, fixed, given)


def _defaults(keys: Mapping[str, Key], dataset: str) -> dict[str, Any]:
    defaults = {name: copy.deepcopy(key.default) for name, key in keys.items()}
    path = properties_root() / "dataset" / f"{dataset}.yaml"
    if path.is_file():
        # The rest of the file describes the data's source and is not part of the configuration.
        file = read_settings(path)
        known = {k: v for k, v in file.values.items() if k in keys and k not in REPLACED}
        defaults |= {k: keys[k].check(v, f"{path}:{file.lines[k]}") for k, v in known.items()}
    sequential = discovery.root() / "properties" / "quick_start_config" / "sequential.yaml"
    return defaults | read_settings(sequential).values


def _checked(layers: Iterable[_Layer], keys: Mapping[str, Key], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The user's settings, each checked and in its type."""
    given: dict[str, Any] = {}
    useless: list[tuple[str, str]] = []
    unknown: list[str] = []
    for layer in layers:
        for name, value in layer.values.items():
            place = layer.place(name)
            if name in ("model", "dataset"):
                continue
            if name not in keys:
                unknown.append(f"{place}: unknown key {name!r}{did_you_mean(name, [*keys, 'model', 'dataset'])}")
                continue
            key = keys[name]
            text = layer.texts.get(name, "-")
            if (text is None and "bool" not in key.types) or (text == "" and key.default != ""):
                raise UserError(f"{place}: --{name} needs a value: {key.describe()}")
            if name in REPLACED:
                # RecBole's default for eval_args is another protocol, too.
                if value != defaults[name] or name == "eval_args":
                    useless.append((place, name))
                continue
            given[name] = key.check(value, place, layer.texts.get(name))
    if unknown and not (len(unknown) == 1 and unknown[0].endswith("?")):
        unknown.append("recbole-tme list keys MODEL shows all")
    if unknown or useless:
        raise UserError("; ".join([*unknown, *([without_effect(useless)] if useless else [])]))
    return given


def _last(layers: Iterable[_Layer], name: str) -> str | None:
    """The name of a model, backbone or data set as the last layer has it."""
    found = None
    for layer in layers:
        if name in layer.values:
            found = layer.texts.get(name) or layer.values[name]
            if not isinstance(found, (str, int)) or isinstance(found, bool) or found == "":
                raise UserError(f"{layer.place(name)}: {name} must be a name, not {found!r}")
    return None if found is None else str(found)


def _plugins(layers: Sequence[_Layer]) -> list[str]:
    """The plug-in files that the last layer with any names; only the command line's are loaded here."""
    for layer in reversed(layers):
        if layer.values.get("plugin"):
            place = layer.place("plugin")
            checked = base_keys()["plugin"].check(layer.values["plugin"], place, layer.texts.get("plugin"))
            files = [checked] if isinstance(checked, str) else checked
            return load_named(files) if layer is layers[-1] else require_loaded(files, place)
    return []
