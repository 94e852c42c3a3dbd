"""Where the property files are: inside an installed package, or at the top level of a checkout."""

from pathlib import Path


def properties_root() -> Path:
    """The directory of ``overall.yaml``, ``model/`` and ``dataset/``."""
    package = Path(__file__).parents[1]
    inside = package / "properties"
    return inside if inside.is_dir() else package.parent / "properties"
