"""Prints what was tried."""

from tests.helpers.tally import TRIED


def pytest_terminal_summary(terminalreporter):
    failed = len(terminalreporter.stats.get("failed", [])) + len(terminalreporter.stats.get("error", []))
    if TRIED:
        tried = ", ".join(f"{number:,} {kind}" for kind, number in sorted(TRIED.items()))
        terminalreporter.write_line(f"attacks: {tried}; {failed} tests failed")
