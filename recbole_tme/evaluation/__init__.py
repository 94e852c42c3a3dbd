"""Evaluation by ranks: score every item, keep where the target stood, compute everything from that."""

from recbole_tme.evaluation.metrics import check_metrics, evaluate, evaluate_model, metric_key, slices
from recbole_tme.evaluation.ranks import NonFiniteScores, Ranks, rank_all, target_ranks

__all__ = [
    "NonFiniteScores",
    "Ranks",
    "check_metrics",
    "evaluate",
    "evaluate_model",
    "metric_key",
    "rank_all",
    "slices",
    "target_ranks",
]
