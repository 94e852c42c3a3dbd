"""Versions of packages: which were tested, which are installed, which do not work together."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class Tested:
    """The range of versions of a package that this program was tested with: ``low <= version < below``.

    Attributes:
        package: its name for ``importlib.metadata``, or "python".
        optional: nothing is wrong where it is absent.
    """

    package: str
    low: tuple[int, ...]
    below: tuple[int, ...]
    optional: bool = False

    def __str__(self) -> str:
        return f">={'.'.join(map(str, self.low))}, <{'.'.join(map(str, self.below))}"


TESTED = (
    Tested("python", (3, 10), (3, 14)),
    Tested("recbole", (1, 2, 1), (1, 2, 2)),
    Tested("torch", (2, 6), (2, 14)),
    Tested("numpy", (1, 26), (2, 6)),
    Tested("pandas", (2,), (3, 2)),
    Tested("scipy", (1, 11), (2,)),
    Tested("pyarrow", (15,), (27,)),
    Tested("ray", (2, 6), (2, 61), optional=True),
    Tested("setuptools", (40,), (100,), optional=True),
    Tested("matplotlib", (3, 8), (3, 12), optional=True),
)


def installed_versions() -> dict[str, str]:
    """Version by package of everything in :data:`TESTED` that is installed, without importing any of it."""
    versions = {"python": platform.python_version()}
    for tested in TESTED[1:]:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[tested.package] = importlib.metadata.version(tested.package)
    return versions


def version_tuple(version: str) -> tuple[int, ...]:
    """``"2.13.0+cpu"`` -> ``(2, 13, 0)``."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(number) for number in found[0].split(".")) if found else ()


def conflicts(versions: Mapping[str, str]) -> list[str]:
    """Combinations of versions that are known not to work, each with what to do.

    Args:
        versions: as from :func:`installed_versions`.
    """
    have = {package: version_tuple(version) for package, version in versions.items()}
    new = (10**6,)

    def between(package: str, low: tuple[int, ...] = (), below: tuple[int, ...] = new) -> bool:
        return package in have and low <= have[package] < below

    found = []
    if between("pyarrow", low=(26,)) and between("numpy", below=(2,)):
        found.append("pyarrow >= 26 refuses NumPy 1 at import: pip install 'pyarrow<26'")
    if between("pandas", low=(3, 1)) and between("numpy", below=(2,)):
        found.append("pandas >= 3.1 needs NumPy 2: pip install 'pandas<3'")
    if between("ray", below=(2, 7)) and between("numpy", low=(2,)):
        found.append("Ray 2.6 uses names that NumPy 2 dropped (np.bool8): pip install 'numpy<2', or uninstall ray")
    if between("ray", below=(2, 7)) and not between("setuptools", below=(81,)):
        found.append("Ray 2.6 imports pkg_resources, gone from setuptools 81: pip install 'setuptools<81'")
    if between("ray", low=(2, 7), below=(2, 54)):
        found.append("Ray 2.7 to 2.53 was not tested and has known security holes: pip install 'ray[tune]>=2.54'")
    return found
