"""The CUDA tests; on a CPU they are skipped."""

from __future__ import annotations

import subprocess
import sys

from _part import Part


def main() -> None:
    part = Part()
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "tests/test_cuda.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    part.text = [
        "```",
        *[line for line in lines if line.startswith(("FAILED", "ERROR", "SKIPPED"))],
        *lines[-1:],
        "```",
    ]
    part.figures["exit_code"] = done.returncode
    part.save()
    raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
