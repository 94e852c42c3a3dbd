"""The notebooks run from beginning to end, and what they hold is what such a run gave, without errors."""

import importlib.util
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs nbclient and ipykernel, the extra docs")
pytest.importorskip("ipykernel", reason="needs nbclient and ipykernel, the extra docs")

ROOT = Path(__file__).parents[2]
specification = importlib.util.spec_from_file_location("run_notebooks", ROOT / "scripts" / "run_notebooks.py")
run_notebooks = importlib.util.module_from_spec(specification)
specification.loader.exec_module(run_notebooks)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("file", run_notebooks.NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_is_stored_with_the_outputs_of_one_run(file):
    notebook = nbformat.read(file, as_version=4)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert len(outputs) >= 5 and all(output.output_type != "error" for output in outputs)
    assert "/tmp/" not in file.read_text()


def test_there_are_the_three():
    assert [file.stem for file in run_notebooks.NOTEBOOKS] == ["compare", "deploy", "quick_start"]


@pytest.mark.slow
@pytest.mark.parametrize("file", run_notebooks.NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs(file):
    outputs = [output for cell in code_cells(run_notebooks.execute(file)) for output in cell.outputs]
    assert len(outputs) >= 5 and all(output.output_type != "error" for output in outputs)
