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
        fields: share of each receptive field, or None where the model has but one.
        field_attention: as ``attention``, within each receptive field; or None.
        repeat: chance that the next click is on an item of the session, or None where the model does not say.
    """

    attention: list[float | None]
    fields: list[float] | None
    field_attention: list[list[float | None]] | None
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
            row = [None] * n_clicks
            for place, weight in zip(places, weights.tolist()):
                row[place] = weight
            return row

        return cls(
            attention=placed(found.attention[0]),
            fields=None if found.fields is None else found.fields[0].tolist(),
            field_attention=None
            if found.field_attention is None
            else [placed(row) for row in found.field_attention[0]],
            repeat=None if found.repeat is None else found.repeat[0].item(),
        )
