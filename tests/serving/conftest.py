"""What the tests of the server share."""

import pytest
from helpers.untrained import untrained

from recbole_tme.serving.bundle import pack


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Two bundles of one catalogue with other weights."""
    folder = tmp_path_factory.mktemp("bundles")
    for name, seed in (("a", 0), ("b", 1)):
        (folder / f"weights-{name}").mkdir()
        pack(untrained("DANSeR", folder / f"weights-{name}", seed=seed, embedding_size=8), folder / name)
    return folder
