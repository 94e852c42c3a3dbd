"""MovieLens-100k, the one real data set that every install of RecBole brings along."""

from __future__ import annotations

from pathlib import Path

from recbole_tme.data.prepare import PrepareOptions, load_source
from recbole_tme.data.sessions import SessionData
from recbole_tme.errors import UserError
from recbole_tme.models.builtin import discovery
from recbole_tme.utils.installing import RECBOLE, pip_install


def movielens_folder() -> Path:
    """Folder of ``ml-100k.inter`` and ``ml-100k.item`` inside the installed RecBole, which is not imported.

    Raises:
        UserError: RecBole is not installed, or without its example data.
    """
    folder = discovery.root() / "dataset_example" / "ml-100k"
    if not (folder / "ml-100k.inter").exists():
        again = pip_install(f"--force-reinstall --no-deps {RECBOLE}")
        raise UserError(f"{folder}: RecBole's example data is missing; run: {again}")
    return folder


def movielens_sessions(name: str, **options) -> tuple[SessionData, dict]:
    """Cut each user's ratings into sessions at pauses.

    Ratings bear whole seconds and half of them the second of the one before (a page of ratings sent at once); those
    keep the order of the file, which is arbitrary.

    Args:
        name: the data set's name.
        options: filters and split, see :class:`~recbole_tme.data.prepare.PrepareOptions`; ``session_gap`` in seconds.

    Returns:
        The data set with movie titles, and where it comes from.
    """
    return load_source(
        movielens_folder() / "ml-100k.inter",
        name,
        PrepareOptions(user="user_id", items=movielens_folder() / "ml-100k.item", **options),
    )
