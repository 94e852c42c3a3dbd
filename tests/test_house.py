"""Rules of the house that no other tool checks: short files, few in the root, and one place that parses arguments."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path
    for folder in ("recbole_tme", "tests", "benchmarks", "examples", "scripts")
    for path in (ROOT / folder).rglob("*.py")
)


def test_no_file_is_over_350_lines():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in FILES}
    assert len(lengths) > 300
    assert {name: length for name, length in lengths.items() if length > 350} == {}


def test_the_root_of_the_package_holds_at_most_five_files():
    assert len(list((ROOT / "recbole_tme").glob("*.py"))) <= 5


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("module", ["argparse", "argcomplete"])
def test_arguments_are_parsed_by_the_commands_alone(module):
    users = {
        path.relative_to(ROOT / "recbole_tme")
        for path in (ROOT / "recbole_tme").rglob("*.py")
        if module in imported(path)
    }
    assert users and all(path.parts[0] in ("cli.py", "commands") for path in users)
