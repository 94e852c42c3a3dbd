"""DuckDB, which reads and sorts logs larger than memory. Imported only where foreign files are read."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_tme.errors import UserError, first_line

if TYPE_CHECKING:
    import pyarrow as pa

# What the engine itself may hold; beyond it, it works from files in the scratch folder.
MEMORY = "1GB"
THREADS = 4
_ENDS = "\t\r\n"
_BLANKS = f" {_ENDS}"


class Engine:
    """A connection with a database of its own in a scratch folder.

    Attributes:
        scratch: a folder that lives as long as the engine does.
    """

    def __init__(self, connection: Any, scratch: Path, duckdb: Any):
        self._connection, self._duckdb = connection, duckdb
        self.scratch = scratch

    def run(self, sql: str) -> list[tuple]:
        """Execute a statement and return its rows.

        Raises:
            QueryError: the statement fails.
        """
        with self._failing():
            return self._connection.execute(sql).fetchall()

    def batches(self, sql: str, size: int = 1_000_000) -> Iterator[pa.RecordBatch]:
        """The rows of a query as Arrow batches of at most ``size`` rows."""
        with self._failing():
            answer = self._connection.sql(sql)
            # The method was renamed in DuckDB 2.
            reader = getattr(answer, "to_arrow_reader", None) or answer.fetch_record_batch
            yield from reader(size)

    def describe(self, relation: str) -> dict[str, str]:
        """Column names and types of what stands behind FROM."""
        return {row[0]: row[1] for row in self.run(f"DESCRIBE SELECT * FROM {relation}")}

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (self._duckdb.OutOfMemoryException, MemoryError):
            raise UserError(
                "sorting the log needs more room than the temporary folder has; set TMPDIR to a folder on a larger disk"
            ) from None
        except self._duckdb.Error as error:
            if "duckdb_temp" in str(error) or "No space left" in str(error):
                raise UserError(
                    f"the temporary folder cannot be written to ({first_line(error)}); set TMPDIR to another"
                ) from None
            raise QueryError(first_line(error)) from None


class QueryError(Exception):
    """What DuckDB says about a statement, its first line."""


@contextmanager
def engine() -> Iterator[Engine]:
    """An engine with a scratch folder; both are gone after the block.

    It fetches nothing from the network and keeps the rows of files in their order.

    Raises:
        UserError: DuckDB is not installed.
    """
    try:
        import duckdb
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"reading click logs needs {error.name}, which is not installed: pip install duckdb pyarrow"
        ) from None
    with tempfile.TemporaryDirectory(prefix="recbole-tme-") as folder:
        # Beyond the limit, tables of a database in memory lie in the scratch folder. A database in a file writes all of
        # them, which took nearly as many CPU seconds as reading a log of 3 million clicks.
        connection = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": MEMORY,
                "threads": THREADS,
                "temp_directory": folder,
                "preserve_insertion_order": True,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "enable_external_file_cache": False,
            },
        )
        try:
            connection.execute("SET TimeZone = 'UTC'")
            # In a notebook without ipywidgets the bar is off already, and DuckDB refuses to be told so.
            with suppress(duckdb.InvalidInputException):
                connection.execute("SET enable_progress_bar = false")
            yield Engine(connection, Path(folder), duckdb)
        finally:
            connection.close()


def text(value: str) -> str:
    """A string as SQL writes it."""
    return "'" + value.replace("'", "''") + "'"


def name(column: str) -> str:
    """A column name as SQL writes it."""
    return '"' + column.replace('"', '""') + '"'


def trimmed(value: str) -> str:
    """The SQL expression of a text without blanks, tabs and ends of lines around it; NULL where nothing is left.

    Other Unicode spaces, which the engine's trim of one argument cuts off, may be part of a name.
    """
    # To trim takes several times as long as to look whether there is anything to trim.
    return f"nullif(CASE WHEN {_has_any(value, _BLANKS)} THEN trim({value}, {text(_BLANKS)}) ELSE {value} END, '')"


def one_line(value: str) -> str:
    """As :func:`trimmed`; tabs and ends of lines within are a blank."""
    joined = rf"regexp_replace({value}, ' *[\t\r\n]+ *', ' ', 'g')"
    return f"nullif(trim(CASE WHEN {_has_any(value, _ENDS)} THEN {joined} ELSE {value} END, ' '), '')"


def _has_any(value: str, marks: str) -> str:
    return " OR ".join(f"contains({value}, {text(mark)})" for mark in marks)
