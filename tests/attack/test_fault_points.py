"""Each place that changes files is killed by a test of this folder or says in ``fault_points.txt`` why not; and each
kind of fault that was found has its tests."""

import re
from pathlib import Path

from recbole_tme.utils import files
from tests.helpers.file_changes import changes, declared

PACKAGE = Path(files.__file__).parents[1]
KILLED = {"run", "prepare", "compare", "tune", "update"}


def test_each_place_that_changes_files_is_killed_by_a_test_or_says_why_not():
    found, listed = changes(PACKAGE), declared()
    new = sorted(found - listed.keys())
    assert not new, (
        f"{', '.join(new)}: makes, changes or removes files. Have a test of tests/attack/test_kills*.py kill the "
        "command there, and add a line to tests/attack/fault_points.txt"
    )
    assert sorted(listed.keys() - found) == [], "gone from the package; remove the lines"


def test_each_line_names_commands_that_are_killed_or_a_reason():
    for place, how in declared().items():
        commands = set(how.removeprefix("killed in ").split(" "))
        assert (how.startswith("killed in ") and commands <= KILLED) or (not how.startswith("killed") and " " in how), (
            place
        )


def test_each_kind_of_fault_has_its_tests():
    folder = Path(__file__).parent
    rows = re.findall(r"^\| (\d+) \|.*\| (.*) \|$", (folder / "README.md").read_text(), flags=re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 15))
    for number, tests in rows:
        named = re.findall(r"`([\w./]*)(?:::(\w+))?`", tests)
        assert named and named[0][0], number
        path = folder
        for file, test in named:
            path = folder / file if file else path
            assert path.is_file() and (not test or f"def {test}(" in path.read_text()), f"{number}: {path.name}, {test}"
