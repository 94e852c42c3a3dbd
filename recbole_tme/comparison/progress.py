"""How far a comparison is: which run, which epoch, what finished with which result, and how long the rest will take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from recbole_tme.comparison.runs import Ended, Job
from recbole_tme.evaluation.metrics import metric_key
from recbole_tme.evaluation.summary import shown_name, shown_value
from recbole_tme.runs.directory import RunDirectory
from recbole_tme.utils import terminal

# The widest that a row's name becomes beside its figures; longer ones have a line of their own.
WIDEST_NAME = 28


@dataclass
class Running:
    """A run at work.

    Attributes:
        job: which.
        began: when, by :func:`time.monotonic`.
        epoch: the last one that is done, counted from 1; 0 before the first.
        score: of that epoch on validation, in per cent.
        best: the best one so far.
    """

    job: Job
    began: float = field(default_factory=lambda: time.monotonic())
    epoch: int = 0
    score: float = 0.0
    best: float = 0.0

    @property
    def seconds(self) -> float:
        """How long it has been at work."""
        return time.monotonic() - self.began

    @property
    def expected(self) -> float | None:
        """Seconds that it takes as a whole, if it does not stop early; None before the first epoch."""
        return self.seconds * max(1, self.job.config["epochs"]) / self.epoch if self.epoch else None


class Progress:
    """What is said of a comparison while it goes on.

    Args:
        jobs: its runs.
        ended: those of them that need not be made.
        workers: runs at once.
    """

    def __init__(self, jobs: Sequence[Job], ended: Sequence[Ended], workers: int):
        self._jobs, self._workers = list(jobs), workers
        self._ended = list(ended)
        self._running: dict[object, Running] = {}
        # Seconds of the runs that were made now, by row.
        self._seconds: dict[str, list[float]] = {}
        self._width = min(WIDEST_NAME, max(len(named(job)) for job in jobs))

    def began(self, job: Job) -> None:
        """A run begins."""
        self._running[job.log] = Running(job)
        terminal.detail(f"{named(job)} begins; its output goes to {job.log}")

    def epoch(self, job: Job, epoch: int, score: float) -> None:
        """A run has done an epoch.

        Args:
            job: which run.
            epoch: counted from 1.
            score: on validation, in per cent.
        """
        one = self._running.setdefault(job.log, Running(job))
        one.epoch, one.score, one.best = epoch, score, max(one.best, score)
        metric = shown_name(metric_key(job.config["valid_metric"]))
        terminal.detail(f"{named(job)}: epoch {epoch}/{job.config['epochs']}  {metric} {score:.2f}")

    def ended(self, one: Ended) -> None:
        """A run is over: say with which result."""
        running = self._running.pop(one.job.log, None)
        seconds = running.seconds if running is not None else None
        if seconds is not None and one.directory is not None:
            self._seconds.setdefault(one.job.row, []).append(seconds)
        self._ended.append(one)
        number = f"{len(self._ended):>{len(str(len(self._jobs)))}}/{len(self._jobs)}"
        name = named(one.job)
        if len(name) > self._width:
            terminal.say_folded(f"{number}  {name}", indent=" " * (len(number) + 2))
            number, name = " " * len(number), ""
        if one.directory is None:
            terminal.say(f"{number}  {name:<{self._width}}  ", ("failed", "bad"))
            terminal.say_folded(f"      {one.reason}", indent="      ")
            terminal.say_folded(f"      log: {one.job.log}", indent="      ")
            return
        took = f"{terminal.duration(seconds):>7}" if seconds is not None else " " * 7
        line = f"{number}  {name:<{self._width}}  {result_of(one)}  "
        left = self.left(certain=True)
        if len(line) + len(took) + 2 + len(left) > terminal.columns():
            left = left.replace("about ", "~")
        fits = len(line) + len(took) + 2 + len(left) <= terminal.columns()
        terminal.say(line, (took, "faint"), (f"  {left}" if fits else "", "faint"))

    def lines(self) -> list[list[terminal.Piece]]:
        """The live lines: each run at work, and the whole."""
        shown: list[list[terminal.Piece]] = [self._line(one) for one in list(self._running.values())]
        left = self.left()
        whole = [*terminal.bar_pieces(len(self._ended), len(self._jobs), 20)]
        shown.append(
            [*whole, f"  {len(self._ended)} of {len(self._jobs)} runs", (f"  {left}" if left else "", "faint")]
        )
        return shown

    def left(self, certain: bool = False) -> str:
        """How long the rest takes, as far as it can be known; empty where nothing is known or nothing is left.

        Args:
            certain: empty, too, where there are models of which nothing is known yet.
        """
        known = {row: statistics.fmean(seconds) for row, seconds in self._seconds.items()}
        running = list(self._running.values())
        for one in running:
            if one.expected is not None:
                known.setdefault(one.job.row, one.expected)
        seconds = [
            max(0.0, total - one.seconds)
            for one in running
            if (total := one.expected or known.get(one.job.row)) is not None
        ]
        over = {id(one.job) for one in self._ended} | {id(one.job) for one in running}
        waiting = [job for job in self._jobs if id(job) not in over]
        unknown = {job.row for job in waiting if job.row not in known}
        unknown |= {one.job.row for one in running if one.job.row not in known}
        seconds += [known[job.row] for job in waiting if job.row in known]
        if not seconds or (certain and unknown):
            return ""
        text = terminal.time_left(sum(seconds) / max(1, min(self._workers, len(seconds))))
        return f"{text} and {len(unknown)} more model{'s'[: len(unknown) != 1]}" if unknown else text

    def _line(self, one: Running) -> list[terminal.Piece]:
        name = terminal.cropped(named(one.job), self._width)
        took = (f"  {terminal.duration(one.seconds):>7}", "faint")
        if not one.epoch:
            return [("▸ ", "bar"), f"{name:<{self._width}}  epoch 1", took]
        metric = shown_name(metric_key(one.job.config["valid_metric"]))
        best = f" (best {one.best:.2f})" if one.best > one.score else ""
        done = f"epoch {one.epoch}/{one.job.config['epochs']}  {metric} {one.score:.2f}{best}"
        return [("▸ ", "bar"), f"{name:<{self._width}}  {done}", took]


def named(job: Job) -> str:
    """A run's model and seed."""
    return f"{job.row}, seed {job.config['seed']}"


def result_of(ended: Ended) -> str:
    """The test metrics of a finished run that fit a line: the one that selects, and P or MRR beside it."""
    assert ended.directory is not None
    test = RunDirectory(ended.directory).read_metrics()["test"]
    first = metric_key(ended.job.config["valid_metric"])
    k = first.partition("@")[2]
    names = [name for name in dict.fromkeys((first, f"hit@{k}", f"mrr@{k}")) if name in test][:2]
    return "  ".join(f"{shown_name(name)} {shown_value(name, test[name]):>5.2f}" for name in names)
