"""What there is to run: models, data sets, keys, and the runs so far."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_tme.api.running import PathLike, load_plugins
from recbole_tme.errors import UserError
from recbole_tme.models import registry
from recbole_tme.runs.find import runs_below
from recbole_tme.schema.property_files import properties_root

if TYPE_CHECKING:
    import pandas as pd


def list_models(plugin: Sequence[PathLike] | PathLike = ()) -> pd.DataFrame:
    """Name, origin ("ours", "plugin", "entry point" or "RecBole") and description of every model that can be run.

    Raises:
        UserError: a plug-in cannot be loaded.
    """
    import pandas as pd

    load_plugins(plugin)
    rows = [(model.name, model.origin, model.description) for model in registry.list_models()]
    return pd.DataFrame(rows, columns=["model", "origin", "description"])


def list_datasets(data_path: PathLike = "dataset_atomic") -> pd.DataFrame:
    """Name, state ("ready", "cached" or "on demand") and description of every data set that can be named."""
    import pandas as pd

    from recbole_tme.data.locate import cache_root, known_datasets

    folder = Path(data_path)
    own = {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
    rows = []
    for name in sorted(own | set(known_datasets())):
        state = "ready" if name in own else "cached" if (cache_root() / name).is_dir() else "on demand"
        rows.append((name, state, _description(properties_root() / "dataset" / f"{name}.yaml")))
    return pd.DataFrame(rows, columns=["data set", "state", "description"])


def list_keys(model: str, backbone: str | None = None, plugin: Sequence[PathLike] | PathLike = ()) -> pd.DataFrame:
    """Key, default, type, range, meaning and declaring file of everything that can be set for a model, its own first.

    Raises:
        UserError: the model, its backbone or its property file is wrong.
    """
    import pandas as pd

    from recbole_tme.config.declared import declared_keys, model_keys
    from recbole_tme.config.ignored_keys import REPLACED

    load_plugins(plugin)
    model_class = registry.with_backbone(registry.resolve(model), backbone)
    own = model_keys(model_class)
    declared = declared_keys(model_class)
    ordered = [*own, *(name for name in declared if name not in own and name not in REPLACED)]
    rows = []
    for name in ordered:
        key = declared[name]
        types = " or ".join([*key.types, *(["None"] if key.nullable else [])])
        default = "" if key.default is None else str(key.default)
        rows.append((name, default, types, key.range, key.help, f"{key.source.parent.name}/{key.source.name}"))
    return pd.DataFrame(rows, columns=["key", "default", "type", "range", "meaning", "file"])


def list_runs(run_dir: PathLike = "runs") -> pd.DataFrame:
    """The runs below a folder, the oldest first: model, data set, when it began (UTC), seed, validation-selected test
    MRR@20 in per cent (missing for a run that was interrupted), state, size in MB and directory."""
    import pandas as pd

    rows = []
    for run in runs_below(Path(run_dir)):
        try:
            settings = run.read_config()
            mrr = run.read_metrics()["test"].get("mrr@20") if run.finished else None
        except UserError:
            # One damaged run must not hide the others.
            settings, mrr = {}, None
        size = sum(file.stat().st_size for file in run.path.rglob("*") if file.is_file())
        rows.append(
            {
                "model": "+".join(str(settings[key]) for key in ("model", "backbone") if settings.get(key)) or "?",
                "data set": settings.get("dataset", run.path.parent.parent.name),
                "began": pd.to_datetime(run.path.name[:15], format="%Y%m%dT%H%M%S", errors="coerce"),
                "seed": settings.get("seed"),
                "MRR@20": None if mrr is None else 100 * mrr,
                "state": "finished" if run.finished else "interrupted" if settings else "damaged",
                "MB": size / 1e6,
                "run": str(run.path),
            }
        )
    return pd.DataFrame(rows, columns=["model", "data set", "began", "seed", "MRR@20", "state", "MB", "run"])


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
