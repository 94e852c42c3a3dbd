"""Which loss over the catalogue a model is trained with."""

from __future__ import annotations

from collections.abc import Collection

# What the catalogue-wide cross entropy is taken over: all of it, sampled negatives, or buckets of hard ones.
LOSS_TYPES = ("full", "sampled", "scalable")
# A step with sampled negatives is the quicker one where the catalogue has so many times their number of items.
WORTH_SAMPLING = 8


def chosen_loss(name: str, n_items: int, n_sampled: int, known: Collection[str] = LOSS_TYPES) -> str:
    """The loss that a model is trained with.

    Args:
        name: one of :data:`LOSS_TYPES`, or ``auto``.
        n_items: items of the catalogue, without padding.
        n_sampled: negatives of ``sampled``.
        known: what the model has.

    Returns:
        One of :data:`LOSS_TYPES`. For ``auto``: ``sampled`` for a catalogue of :data:`WORTH_SAMPLING` times
        ``n_sampled`` items or more, where the model has it; else ``full``.
    """
    if name != "auto":
        return name
    return "sampled" if n_items >= WORTH_SAMPLING * n_sampled and "sampled" in known else "full"
