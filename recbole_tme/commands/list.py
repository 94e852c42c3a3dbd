"""``recbole-tme list``: the models, data sets and keys there are."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_tme.errors import UserError
from recbole_tme.models import registry
from recbole_tme.schema.property_files import properties_root
from recbole_tme.utils.tabular import aligned


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``recbole-tme list``."""
    parser.add_argument("what", choices=("models", "datasets", "keys"))
    parser.add_argument("model", nargs="?", help="the model whose keys are listed")
    parser.add_argument("--backbone", help="the model that a model such as ATSRec trains")
    parser.add_argument("--plugin", action="append", default=[], help="a file that defines further models")
    parser.add_argument("--data_path", default="dataset_atomic", help="folder of data sets (default %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Print the table of models, data sets or keys.

    Raises:
        UserError: the plugin, the model or its property file is wrong.
    """
    for plugin in args.plugin:
        registry.load_plugin(plugin)
    if args.what != "keys" and (args.model or args.backbone):
        raise UserError(f"list {args.what} takes no further argument, got {args.model or args.backbone!r}")
    if args.what == "models":
        rows = [(model.name, model.origin, model.description) for model in registry.list_models()]
        print(aligned(("model", "origin", "description"), rows))
    elif args.what == "datasets":
        print(aligned(("data set", "state", "description"), dataset_rows(Path(args.data_path))))
    else:
        if args.model is None:
            raise UserError("list keys needs a model, such as: recbole-tme list keys TMEGNN")
        print(aligned(("key", "default", "type", "range", "meaning", "file"), key_rows(args.model, args.backbone)))
    return 0


def dataset_rows(data_path: Path) -> list[tuple[str, str, str]]:
    """Name, state ("ready", "cached" or "on demand") and description of every data set that can be named."""
    from recbole_tme.data.locate import cache_root, known_datasets

    own = {path.name for path in data_path.iterdir() if path.is_dir()} if data_path.is_dir() else set()
    rows = []
    for name in sorted(own | set(known_datasets())):
        state = "ready" if name in own else "cached" if (cache_root() / name).is_dir() else "on demand"
        rows.append((name, state, _description(properties_root() / "dataset" / f"{name}.yaml")))
    return rows


def key_rows(model: str, backbone: str | None = None) -> list[tuple[str, ...]]:
    """Key, default, type, range, meaning and declaring file of everything that can be set for a model, its own first.

    Raises:
        UserError: the model, its backbone or its property file is wrong.
    """
    from recbole_tme.config.declared import declared_keys, model_keys
    from recbole_tme.config.ignored_keys import WITHOUT_EFFECT

    model_class = registry.with_backbone(registry.resolve(model), backbone)
    own = model_keys(model_class)
    declared = declared_keys(model_class)
    ordered = [*own, *(name for name in declared if name not in own and name not in WITHOUT_EFFECT)]
    rows = []
    for name in ordered:
        key = declared[name]
        types = " or ".join([*key.types, *(["None"] if key.nullable else [])])
        default = "" if key.default is None else str(key.default)
        rows.append((name, default, types, key.range, key.help, f"{key.source.parent.name}/{key.source.name}"))
    return rows


def _description(path: Path) -> str:
    """The first sentence of a property file's opening comment."""
    if not path.is_file():
        return "your own"
    words = []
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.removeprefix("#").strip()
        if not line.startswith("#") or not text:
            break
        words.append(text)
    sentence, stop, _ = " ".join(words).partition(". ")
    return sentence + stop.strip()
