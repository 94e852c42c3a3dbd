"""What a model says that one session's scores rest on, in plain lists that fit the session as it was given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from recbole_tme.models.base import Explanation


class Reasons(NamedTuple):
    """The weights behind a session's scores; see :class:`~recbole_tme.models.base.Explanation`.

    Attributes:
        attention: share of each click of the session in the attention, None for a click that was skipped because
            its item is unknown or the session too long; the others add up to 1.
        hops: share of each receptive field, 0 hops (the single clicks) first; None where the model has only one.
        hop_attention: as ``attention``, within each receptive field; or None.
        repeat: chance that the next click is on an item of the session, or None where the model does not say.
    """

    attention: list[float | None]
    hops: list[float] | None
    hop_attention: list[list[float | None]] | None
    repeat: float | None

    @classmethod
    def of(cls, found: Explanation, places: Sequence[int], n_clicks: int) -> Reasons:
        """The first session of an explanation.

        Args:
            found: of a batch of one, without padding or with.
            places: where in the session the explained clicks are.
            n_clicks: clicks of the session.
        """

        def placed(weights) -> list[float | None]:
            row: list[float | None] = [None] * n_clicks
            for place, weight in zip(places, weights.tolist()):
                row[place] = weight
            return row

        return cls(
            attention=placed(found.attention[0]),
            hops=None if found.hops is None else found.hops[0].tolist(),
            hop_attention=None if found.hop_attention is None else [placed(row) for row in found.hop_attention[0]],
            repeat=None if found.repeat is None else found.repeat[0].item(),
        )
