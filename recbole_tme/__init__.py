"""Session-based recommendation for RecBole: TME-GNN and relatives, next to honest baselines.

Importing this package is cheap (neither torch nor RecBole is imported) and makes RecBole find our models by name. What
``__all__`` names is public; each name is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from recbole_tme.errors import UserError
from recbole_tme.recbole_patches.hooks import install

if TYPE_CHECKING:
    from recbole_tme.api.comparing import Comparison, compare
    from recbole_tme.api.estimating import estimate
    from recbole_tme.api.exporting import export_vectors
    from recbole_tme.api.listing import list_datasets, list_keys, list_models, list_runs
    from recbole_tme.api.preparing import Prepared, prepare
    from recbole_tme.api.running import Run, load_run, refit, run
    from recbole_tme.api.tuning import Study, tune
    from recbole_tme.api.updating import Updated, update
    from recbole_tme.models.base import SessionRecommender
    from recbole_tme.serving.recommender import Recommender
    from recbole_tme.testing import check_model

__version__ = "0.1.0"

__all__ = [
    "Comparison",
    "Prepared",
    "Recommender",
    "Run",
    "SessionRecommender",
    "Study",
    "Updated",
    "UserError",
    "check_model",
    "compare",
    "estimate",
    "export_vectors",
    "list_datasets",
    "list_keys",
    "list_models",
    "list_runs",
    "load_run",
    "prepare",
    "refit",
    "run",
    "tune",
    "update",
]

_HOMES = {
    "Comparison": "api.comparing",
    "Prepared": "api.preparing",
    "Recommender": "serving.recommender",
    "Run": "api.running",
    "SessionRecommender": "models.base",
    "Study": "api.tuning",
    "Updated": "api.updating",
    "check_model": "testing",
    "compare": "api.comparing",
    "estimate": "api.estimating",
    "export_vectors": "api.exporting",
    "list_datasets": "api.listing",
    "list_keys": "api.listing",
    "list_models": "api.listing",
    "list_runs": "api.listing",
    "load_run": "api.running",
    "prepare": "api.preparing",
    "refit": "api.running",
    "run": "api.running",
    "tune": "api.tuning",
    "update": "api.updating",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


install()
