"""Version numbers are compared as numbers, and combinations that do not work name their remedy."""

import pytest

from recbole_tme.utils import versions as versions_module


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ({"numpy": "1.26.4", "pyarrow": "26.0.1"}, ["pyarrow<26"]),
        ({"numpy": "1.26.4", "pandas": "3.1.1"}, ["pandas<3"]),
        ({"numpy": "2.4.6", "ray": "2.6.3", "setuptools": "80.1"}, ["numpy<2"]),
        ({"numpy": "1.26.4", "ray": "2.6.3", "setuptools": "84.2"}, ["setuptools<81"]),
        ({"numpy": "1.26.4", "ray": "2.6.3"}, ["setuptools<81"]),
        ({"numpy": "2.4.6", "ray": "2.60.0", "setuptools": "84.2"}, []),
        ({"numpy": "2.4.6", "ray": "2.31.0", "setuptools": "84.2"}, ["ray[tune]>=2.54"]),
        ({"numpy": "2.4.6", "pandas": "3.1.1", "pyarrow": "26.0.1", "setuptools": "84"}, []),
        ({"numpy": "1.26.4", "pandas": "2.3.3", "pyarrow": "25.0", "ray": "2.6.3", "setuptools": "80.10.2"}, []),
    ],
)
def test_conflicts_name_the_remedy(versions, expected):
    found = versions_module.conflicts(versions)
    assert len(found) == len(expected)
    for line, remedy in zip(found, expected):
        assert remedy in line


@pytest.mark.parametrize(("text", "numbers"), [("2.13.0+cpu", (2, 13, 0)), ("3.0rc1", (3, 0)), ("1.26", (1, 26))])
def test_version_tuple(text, numbers):
    assert versions_module.version_tuple(text) == numbers
