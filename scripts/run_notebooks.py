"""Run the notebooks of the documentation, each in an empty folder, and store what their cells give.

    python scripts/run_notebooks.py                        all of them
    python scripts/run_notebooks.py docs/notebooks/compare.ipynb

A cell that raises ends it with the cell's error, and that notebook is left as it was.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
# Seconds; the longest cell takes a tenth of it on two busy cores.
LONGEST_CELL = 300


def execute(file: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of a run of its own.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised.
    """
    notebook = nbformat.read(file, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        client = NotebookClient(notebook, timeout=LONGEST_CELL, resources={"metadata": {"path": folder}})
        client.execute()
    return _stored(notebook, folder)


def _stored(notebook: nbformat.NotebookNode, folder: str) -> nbformat.NotebookNode:
    """Without what is of this machine and this moment only: paths, progress, the times at which cells ran."""
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", {}
        if cell.cell_type == "code":
            cell.outputs = _joined([output for output in cell.outputs if output.get("name") != "stderr"])
            for output in cell.outputs:
                _without(output, re.compile(rf"(?:/private)?{re.escape(folder)}/?"))
    return notebook


def _joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """What was printed in several pieces as one output."""
    joined: list[nbformat.NotebookNode] = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _without(output: nbformat.NotebookNode, found: re.Pattern) -> None:
    if "text" in output:
        output.text = found.sub("", output.text)
    for kind, value in output.get("data", {}).items():
        if isinstance(value, str):
            output.data[kind] = found.sub("", value)


def main() -> None:
    """Run the notebooks that are named, or all."""
    for file in map(Path, sys.argv[1:] or NOTEBOOKS):
        print(file.name, flush=True)
        nbformat.write(execute(file), file)


if __name__ == "__main__":
    main()
