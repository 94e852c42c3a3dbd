"""Everything is in pyproject.toml but one thing it cannot say: the packages found, and `properties/` as one of them."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["recbole_tme", "recbole_tme.*"]), "recbole_tme.properties"])
