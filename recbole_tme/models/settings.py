"""Settings of a model that is rebuilt from plain data."""

from __future__ import annotations


class Settings(dict):
    """Settings as a model reads them from RecBole's ``Config``: a key that is not there is None."""

    def __missing__(self, key):
        return None
