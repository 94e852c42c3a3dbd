"""No pinned version has a known hole, but for those that are accepted with a reason."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
ADVISORIES = [line for line in (ROOT / ".ci" / "advisories.txt").read_text().splitlines() if line[:1] not in ("#", "")]
LINE = re.compile(
    r"(?P<name>[\w.-]+?)(?P<range>[<>=]\S+)\s+"
    r"(?P<ids>(?:[A-Z]+-[\w-]+ ?)+|floor: .+)\s*(?:accepted: (?P<reason>.+))?"
)


def pins() -> dict[str, list[str]]:
    """The versions that constraints.txt has of each package, whatever the Python."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            one = Requirement(line)
            found.setdefault(one.name.lower(), []).extend(part.version for part in one.specifier)
    return found


@pytest.mark.parametrize("line", ADVISORIES)
def test_no_pin_has_a_known_hole_that_is_not_accepted(line):
    parts = LINE.fullmatch(line)
    assert parts, f"{line!r} is not: package<version  CVE-... or floor: reason  [accepted: reason]"
    versions = pins().get(parts["name"])
    assert versions, f"{parts['name']} is not in constraints.txt any more; remove the line"
    hit = [version for version in versions if version in SpecifierSet(parts["range"])]
    assert bool(hit) == bool(parts["reason"]), f"{parts['name']} {hit}: {parts['ids']}"


def test_a_pin_within_a_range_would_be_found():
    assert LINE.fullmatch("pyyaml<5.4  CVE-2020-14343")["range"] == "<5.4"
    assert "5.3" in SpecifierSet("<5.4") and pins()["pyyaml"]
