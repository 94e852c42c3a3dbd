"""The pages do what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_python_page_runs_as_a_script(tmp_path):
    page = (ROOT / "docs" / "python.md").read_text()
    assert len(page.splitlines()) <= 35
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    (tmp_path / "page.py").write_text(f"{code}\nassert page.is_file() and len(comparison.runs) == 4\n")
    done = subprocess.run(
        [sys.executable, "page.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "recbole-tme run --model=TMEGNN" in done.stdout and "TMEGNN" in done.stdout
