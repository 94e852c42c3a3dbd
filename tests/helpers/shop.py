"""A shop whose model is updated: a data set of a day's clicks, a finished run that a link leads to, the next days."""

import hashlib
from pathlib import Path

from recbole_tme.data.prepare import prepare
from recbole_tme.runs.find import named_run
from tests.helpers.attack import command

QUIET = ["--device=cpu", "--show_progress=False", "--threads=1"]
SMALL = ["--topk=5", "--valid_metric=MRR@5", "--data_cache=False", "--embedding_size=8", "--epochs=1"]


def log(path: Path, day: int) -> Path:
    """A click log of a day."""
    lines = [f"d{day}s{s},{(s * 7 + k) % 11},{86_400 * day + 100 * s + k}\n" for s in range(60) for k in range(4)]
    path.write_text("session,item,time\n" + "".join(lines))
    return path


def open_shop(place: Path, first_log: Path) -> Path:
    """Make the data set ``data/set`` in a folder, a run of it below ``runs`` and the link ``current`` to that run."""
    prepare(str(first_log), "set", place / "data", min_support=1)
    words = ["run", "--model=SRGNN", "--dataset=set", f"--data_path={place / 'data'}", *SMALL]
    assert command(*words, f"--run_dir={place / 'runs'}", *QUIET).code == 0
    run = named_run(place / "runs")
    (place / "current").symlink_to(run)
    return run


def checksums(folder: Path) -> dict[Path, str]:
    """What every file below a folder holds, by its path in there."""
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
