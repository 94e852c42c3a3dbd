"""What a study is asked to do, and how much it may spend on it."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recbole_tme.errors import UserError
from recbole_tme.experiment.cluster import Resources
from recbole_tme.utils.files import write_json
from recbole_tme.utils.shapes import read_json

_PART = re.compile(r"(?P<amount>\d+(?:\.\d+)?)(?P<unit>s|m|h|d|gpuh)?")
_NUMBER = (type(None), float)
SHAPE = {
    **dict.fromkeys(("settings", "given", "fixed"), dict),
    **dict.fromkeys(("search", "scheduler"), str),
    "seed": int,
    "budget": {"trials": (type(None), int), "seconds": _NUMBER, "gpu_hours": _NUMBER},
    "resources": {"cpus": float, "gpus": float},
}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Budget:
    """What a study may spend; what is None is without limit.

    Attributes:
        trials: how many.
        seconds: of wall time, over all processes that worked on the study.
        gpu_hours: of its trials, a share of a GPU counting as such.
    """

    trials: int | None = None
    seconds: float | None = None
    gpu_hours: float | None = None

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read ``40`` (trials), ``90s``, ``30m``, ``2h``, ``1d``, ``2gpuh``, or several joined by commas.

        Raises:
            UserError: the text has another form, is zero, or names one thing twice.
        """
        found: dict[str, Any] = {}
        for part in text.split(","):
            match = _PART.fullmatch(part.strip())
            if match is None:
                raise UserError(f"--budget={text}: {part.strip()!r} is neither trials (40), a time (30m, 2h) nor 2gpuh")
            amount, unit = float(match["amount"]), match["unit"]
            name = "trials" if unit is None else "gpu_hours" if unit == "gpuh" else "seconds"
            if amount == 0:
                raise UserError(f"--budget={text}: a budget of zero tries nothing; give at least one trial or second")
            if name in found:
                raise UserError(f"--budget={text}: {name} are given twice; keep one")
            if unit is None and amount != int(amount):
                raise UserError(f"--budget={text}: {match['amount']} trials; give a whole number")
            found[name] = int(amount) if unit is None else amount * _SECONDS.get(unit, 1)
        return cls(**found)

    def __str__(self) -> str:
        parts = [f"{self.trials} trials"] if self.trials else []
        parts += [f"{self.seconds:g} s"] if self.seconds else []
        return ", ".join([*parts, *([f"{self.gpu_hours:g} GPU hours"] if self.gpu_hours else [])])


@dataclass(frozen=True)
class Plan:
    """Everything that decides what a study does, as plain data; kept in ``plan.json``.

    Attributes:
        settings: complete settings that all trials share.
        given: those among them that the user gave, which a re-run needs too.
        fixed: those among them that are not searched, whatever the space says.
        search, scheduler: by name.
        seed: of the search.
        budget: when to end.
        resources: what each trial occupies.
    """

    settings: dict[str, Any]
    given: dict[str, Any]
    fixed: dict[str, Any]
    search: str
    scheduler: str
    seed: int
    budget: Budget
    resources: Resources

    def write(self, folder: Path) -> None:
        write_json(folder / "plan.json", asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """The plan of an existing study.

        Raises:
            UserError: the folder is not a study folder.
        """
        file = folder / "plan.json"
        if not file.exists():
            raise UserError(f"{folder} is not the folder of a study: it has no plan.json")
        plan = read_json(file, SHAPE, "start a new study")
        try:
            return cls(**{**plan, "budget": Budget(**plan["budget"]), "resources": Resources(**plan["resources"])})
        except TypeError as error:
            raise UserError(f"{file} cannot be read ({error}); start a new study") from error
