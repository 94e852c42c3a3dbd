"""Sessions as Python users have them: one list, several, or a DataFrame of clicks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from recbole_tme.data.readers.columns import ITEMS, SESSIONS, TIMES
from recbole_tme.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def given_sessions(
    given: Any, session: str | None = None, item: str | None = None, time: str | None = None
) -> tuple[list[Any], list[Sequence[Any]]]:
    """The names of some sessions, and their external item ids in click order.

    Args:
        given: one session (a list of ids), several (an iterable of lists), or a DataFrame with a click per row.
        session, item, time: columns of a DataFrame, where they have none of the names that ``prepare`` takes by itself
            (``session_id``, ``item_id``, ``timestamp`` and the like); without a time the rows are in order.

    Returns:
        The names: a DataFrame's own, else numbers from 1 as on the command line; and the sessions.

    Raises:
        UserError: the input is none of these; says what it lacks.
    """
    if hasattr(given, "columns") and hasattr(given, "groupby"):
        return _of_frame(given, session, item, time)
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise UserError(f"sessions: must be a list of item ids or a list of such lists, not {given!r}")
    sessions = list(given)
    single = [one for one in sessions if not _is_session(one)]
    if single and len(single) < len(sessions):
        raise UserError(f"sessions: holds lists and {single[0]!r} beside them; give one session or a list of sessions")
    if single:
        sessions = [sessions]
    return list(range(1, len(sessions) + 1)), sessions


def _is_session(one: Any) -> bool:
    return isinstance(one, Iterable) and not isinstance(one, (str, bytes))


def _of_frame(
    clicks: pd.DataFrame, session: str | None, item: str | None, time: str | None
) -> tuple[list[Any], list[Sequence[Any]]]:
    by, what = _column(clicks, session, SESSIONS), _column(clicks, item, ITEMS)
    when = time or next((name for name in TIMES if name in clicks), None)
    if when is not None:
        clicks = clicks.sort_values(_column(clicks, when, TIMES), kind="stable")
    missing = clicks[[by, what]].isna().any(axis=1)
    if missing.any():
        raise UserError(f"sessions: row {clicks.index[missing.to_numpy()][0]} has no {by} or no {what}; leave it out")
    groups = clicks.groupby(by, sort=False)[what]
    return list(groups.groups), [group.tolist() for _, group in groups]


def _column(clicks: pd.DataFrame, named: str | None, usual: Sequence[str]) -> str:
    for name in [named] if named else usual:
        if name in clicks:
            return name
    wanted = named or " or ".join(usual)
    raise UserError(f"sessions: no column {wanted} among {', '.join(map(str, clicks.columns))}; name it")
