"""RecBole's keys that this program does not read, each with what replaces it.

RecBole ignores what it does not use, silently; here setting such a key to another value than its default is an error.
"""

from __future__ import annotations

from collections.abc import Sequence

_PREPARE = "recbole-tme prepare"
_FEATURES = "nothing: no session model reads features of items"
_GRAPH = "nothing: no session model uses a knowledge graph"
_FROM_FILES = "nothing: data loads from the prepared files each time, and from a binary copy of large ones (data_cache)"

# What stands behind a key is what is to be done, or "nothing" and why.
REPLACED = {
    "load_col": f"{_PREPARE} reads the columns that --session, --item, --time and --item-columns name",
    "unload_col": f"{_PREPARE} reads only the columns that its options name",
    "unused_col": f"{_PREPARE} reads only the columns that its options name",
    "additional_feat_suffix": f"{_PREPARE} --items=FILE --item-columns=NAMES takes what is known of items",
    "rm_dup_inter": f"{_PREPARE} --drop-repeats drops repeats in a row; a session may return to an item",
    "val_interval": f"{_PREPARE} --where='COLUMN >= VALUE'",
    "filter_inter_by_user_or_item": f"{_PREPARE} filters by both, --min-support and --min-length",
    "user_inter_num_interval": f"{_PREPARE} --min-length and --max-length",
    "item_inter_num_interval": f"{_PREPARE} --min-support",
    "threshold": f"{_PREPARE} --where='COLUMN >= VALUE'",
    "RATING_FIELD": f"{_PREPARE} --where='COLUMN >= VALUE' keeps some ratings; a click has none",
    "TIME_FIELD": f"{_PREPARE} --time=COLUMN",
    "field_separator": f"{_PREPARE} --delimiter",
    "seq_separator": "nothing: a blank separates the items of a list",
    "benchmark_filename": f"{_PREPARE} FOLDER finds .train.inter, .valid.inter and .test.inter",
    "alias_of_user_id": "nothing: a session's clicks and target share the items' ids",
    "alias_of_item_id": "nothing: a session's clicks and target share the items' ids",
    "seq_len": "MAX_ITEM_LIST_LENGTH",
    "LABEL_FIELD": "nothing: every click but a session's first is a target",
    "POSITION_FIELD": "nothing: a click's position is its place in the session",
    "preload_weight": _FEATURES,
    "normalize_field": _FEATURES,
    "normalize_all": _FEATURES,
    "discretization": _FEATURES,
    "numerical_features": _FEATURES,
    "eval_args": f"valid_ratio, and {_PREPARE} --test-ratio or --test-days: sessions are split by time, and every "
    "target is ranked in the whole catalogue",
    "repeatable": "nothing: the session's own items are ranked, too",
    "valid_metric_bigger": "nothing: whether more is better is known of each metric",
    "save_dataset": _FROM_FILES,
    "dataset_save_path": _FROM_FILES,
    "save_dataloaders": _FROM_FILES,
    "dataloaders_save_path": _FROM_FILES,
    "checkpoint_dir": "run_dir: checkpoints lie in the run directory",
    "eval_step": "nothing: each epoch ends with an evaluation",
    "loss_decimal_place": "nothing: figures are stored as they are",
    "metric_decimal_place": "nothing: figures are stored as they are",
    "enable_scaler": "nothing: gradients are float32",
    "require_pow": "nothing: weight_decay is the only penalty",
    "state": "nothing: what a run says is fixed",
    "transform": "nothing: it belongs to the model, and only BERT4Rec reads what its transform makes",
    "worker": "nothing: batches are cut from memory faster than a worker could hand them over",
    "alias_of_entity_id": _GRAPH,
    "alias_of_relation_id": _GRAPH,
    "HEAD_ENTITY_ID_FIELD": _GRAPH,
    "TAIL_ENTITY_ID_FIELD": _GRAPH,
    "RELATION_ID_FIELD": _GRAPH,
    "ENTITY_ID_FIELD": _GRAPH,
    "kg_reverse_r": _GRAPH,
    "entity_kg_num_interval": _GRAPH,
    "relation_kg_num_interval": _GRAPH,
}


def instead(what: str) -> str:
    """What replaces a key, or why nothing does."""
    return what.removeprefix("nothing: ") if what.startswith("nothing: ") else f"instead: {what}"


def without_effect(found: Sequence[tuple[str, str]]) -> str:
    """One line on keys that have no effect here, and on what replaces each.

    Args:
        found: place and name of each.
    """
    said: dict[str, list[str]] = {}
    for place, name in found:
        said.setdefault(REPLACED[name], []).append(f"{place}: {name}")
    parts = [f"{', '.join(names)} ({instead(what)})" for what, names in said.items()]
    if len(found) == 1:
        return f"{parts[0]} has no effect; leave it out"
    return f"without effect: {'; '.join(parts)}; leave them out (recbole-tme convert FILE writes a file without them)"
