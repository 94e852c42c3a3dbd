"""Which settings may change a run's results. Needs no RecBole: a server asks, too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

# Where a run happens and what it prints; everything else may change its results.
NOT_IN_HASH = {
    *("data_path", "run_dir", "plugin", "show_progress", "metrics", "topk", "tail_ratio", "logger"),
    *("log_wandb", "wandb_project"),
    *("device", "gpu_id", "use_gpu", "threads", "eval_batch_size", "data_cache"),
}
# Keys that are younger than runs that are kept: with these values such a run differs by nothing from one without them.
YOUNGER: dict[str, Any] = {"eval_sample": None}


def result_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those settings that may change a run's results, the seed among them."""
    return {
        key: value
        for key, value in settings.items()
        if key not in NOT_IN_HASH and not (key in YOUNGER and value == YOUNGER[key])
    }


def settings_hash(settings: Mapping[str, Any], ignore: Collection[str] = ()) -> str:
    """Eight hex digits of the settings that can change a run's results.

    Args:
        settings: all settings as plain data, such as a run's ``config.yaml``.
        ignore: keys to leave out besides, such as ``("seed",)`` to group runs.
    """
    counted = {k: v for k, v in result_settings(settings).items() if k not in ignore}
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()[:8]
