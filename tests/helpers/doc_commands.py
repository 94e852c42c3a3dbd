"""The commands of README and docs, taken out of their shell blocks, and a folder of small data in which they run."""

import re
import shlex
import shutil
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from helpers.quick_run import QUICK

from recbole_tme.config.load import load_config
from recbole_tme.data.readers.atomic import write_dataset
from recbole_tme.data.synthetic import toy
from recbole_tme.experiment.run import run

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "dataset_atomic" / "README.md", *(ROOT / "docs").glob("**/*.md")])
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(?:^    .*\n)+", re.MULTILINE)
# Two seeds of one model, because a test of a trained model needs them.
RUNS = (
    *(("tmall", model, 1) for model in ("TMEGNN", "SASRec", "OwnItemsFirst")),
    *(("tmall", "DANSeR", seed) for seed in (1, 2)),
    *(("shop", model, 1) for model in ("DANSeR", "TMEGNN")),
)
SHELL = ("", "bash", "sh", "shell", "console")
PROGRAMS = (["recbole-tme"], ["python", "run_recbole_tme.py"], ["python", "-m", "recbole_tme"])


@dataclass(frozen=True)
class Command:
    """A line of a shell block, without its comment, and where it stands."""

    page: str
    line: int
    text: str

    @property
    def arguments(self) -> list[str] | None:
        """What follows the program's name; None for another program."""
        words = shlex.split(self.text)
        for program in PROGRAMS:
            if words[: len(program)] == program:
                return words[len(program) :]
        return None


def blocks(page: Path, languages: tuple[str, ...]) -> list[tuple[int, str]]:
    """The page's blocks in some languages: the line at which each begins, and its text."""
    text = page.read_text()
    found = [block for block in _BLOCK.finditer(text) if block[2] in languages]
    return [(text.count("\n", 0, block.start()) + 2, block[3]) for block in found]


def indented_commands(page: Path) -> list[str]:
    """Commands in blocks by indentation, which say nothing of their language."""
    prose = _BLOCK.sub("", page.read_text())
    return [block for block in _CODE.findall(prose) if re.match(r" +(recbole-tme|python|pip) ", block)]


def commands() -> list[Command]:
    """Every command of the pages."""
    found = []
    for page in PAGES:
        for start, block in blocks(page, SHELL):
            lines = block.replace("\\\n", " ").splitlines()
            for number, line in enumerate(lines):
                text = re.sub(r"(^|\s+)# .*", "", line).strip()
                if text and not text.startswith("#"):
                    found.append(Command(str(page.relative_to(ROOT)), start + number, text))
    return found


def distinct(some: list[Command]) -> list[Command]:
    """The first of those with the same text."""
    return list({command.text: command for command in reversed(some)}.values())[::-1]


def workshop(folder: Path) -> None:
    """Small data, files and runs under the names that the pages use."""
    data = folder / "dataset_atomic"
    eighths = [f"{name}-eighth" for name in ("tmall", "diginetica", "nowplaying")]
    for name in ("tmall", "diginetica", "shop", "yoochoose-100k", *eighths):
        write_dataset(data, replace(toy(n_chains=50), name=name), {"source": "toy"})
    for name in ("examples", "properties", "results", "docs", "deploy"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "README.md", folder)
    log_files(folder)
    places = {"run_dir": str(folder / "runs"), "data_path": str(data)}
    for dataset, model, seed in RUNS:
        run(load_config(model, dataset, config_dict=QUICK | places | {"seed": seed}))


def log_files(folder: Path) -> None:
    """Click logs, sessions and tables of items, of a shop whose visits walk along its products."""
    starts = np.random.default_rng(0).integers(1, 60, 400)
    items = [f"{start + step}" for start in starts for step in range(3)]
    log = pd.DataFrame(
        {"visit": np.repeat(np.arange(400), 3), "sku": items, "when": 1_700_000_000 + np.arange(1200) * 1800}
    )
    log["name"], log["product"], log["category"], log["price"] = "Product " + log["sku"], log["sku"], "shoes", 9.5
    log.to_csv(folder / "clicks.csv", index=False)
    log[log["visit"] < 5].to_csv(folder / "today.csv", index=False)
    views = pd.DataFrame({"visitor": np.arange(1200) // 30, "item_id": items, "timestamp": log["when"]})
    views.to_parquet(folder / "views.parquet")
    (folder / "sessions.csv").write_text("session_id,item_id\n1,3\n1,4\n2,7\n")
    inter = log.rename(columns={"visit": "user_id:token", "sku": "item_id:token", "when": "timestamp:float"})
    inter[["user_id:token", "item_id:token", "timestamp:float"]].to_csv(folder / "shop.inter", sep="\t", index=False)
    with zipfile.ZipFile(folder / "diginetica_session.zip", "w") as published:
        for name, part in (("train", starts[:300]), ("test", starts[300:])):
            walks = [[str(start + step) for step in range(2 + start % 3)] for start in part]
            (folder / f"{name}.txt").write_text("".join(" ".join(walk) + "\n" for walk in walks))
            rows = [f"{k}\t{' '.join(walk[:-1])}\t{walk[-1]}\n" for k, walk in enumerate(walks)]
            head = "session_id:token\titem_id_list:token_seq\titem_id:token\n"
            published.writestr(f"diginetica-session/diginetica-session.{name}.inter", head + "".join(rows))
