"""Names from other people's runs, in every place that holds a word: every command shows them and obeys none."""

import csv
import json
import random
import re
from html.parser import HTMLParser

import pytest
import yaml

from recbole_tme.cli import main
from tests.attack.test_wrong_shapes import PER_FILE, changed, places
from tests.helpers.report_runs import IDS, make_run, some_ranks
from tests.helpers.tally import TRIED

pytestmark = pytest.mark.slow

HOSTILE = "=1+1\x1b[31m\"'></script></style><script>alert(1)</script><img src=x onerror=alert(2)>|`$\\input{x}\n# head"
FILES = ("metrics.json", "environment.json", "details.json", "catalogue.json", "config.yaml", "history.csv")


class Elements(HTMLParser):
    """What a page is made of."""

    def __init__(self, text):
        super().__init__()
        self.scripts, self.problems = 0, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        names = dict(attributes)
        # Data for the page's own script is none.
        self.scripts += tag == "script" and names.get("type") != "application/json"
        if tag in ("img", "iframe", "object", "embed", "form", "base") or any(name.startswith("on") for name in names):
            self.problems.append(self.get_starttag_text())
        if str(names.get("href", "")).lower().startswith(("javascript:", "data:text")):
            self.problems.append(self.get_starttag_text())


def with_hostile(file, rng):
    """A file's text with the hostile name for one of its words: a value, a key, or a column."""
    text = file.read_text()
    if file.suffix == ".csv":
        head, _, rest = text.partition("\n")
        names = head.split(",")
        names[rng.randrange(len(names))] = f'"loss_{HOSTILE}"'.replace('"', "'")
        return ",".join(names).replace("\n", " ") + "\n" + rest
    content = yaml.safe_load(text) if file.suffix == ".yaml" else json.loads(text)
    words = [path for path in places(content) if path and isinstance(value_at(content, path), str)]
    keys = [path for path in places(content) if path and isinstance(path[-1], str)]
    if words and rng.random() < 0.7:
        content = changed(content, rng.choice(words), HOSTILE)
    else:
        path = rng.choice(keys)
        outer = value_at(content, path[:-1])
        content = changed(content, path[:-1], {(HOSTILE if key == path[-1] else key): outer[key] for key in outer})
    return yaml.safe_dump(content) if file.suffix == ".yaml" else json.dumps(content)


def value_at(content, path):
    for part in path:
        content = content[part]
    return content


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_name_is_shown_and_not_obeyed(name, tmp_path, capsys):
    rng = random.Random(name)
    titles = dict(zip(IDS, (f"title {item}" for item in IDS)))
    runs = [
        make_run(tmp_path / "runs", model, some_ranks(s, s), titles=titles) for s, model in ((1, "SRGNN"), (2, "STAN"))
    ]
    file, out = runs[0] / name, tmp_path / "out"
    whole = file.read_text()
    assert main(["report", str(tmp_path / "runs"), f"--out={out}"]) == 0
    scripts = Elements((out / "report.html").read_text()).scripts
    capsys.readouterr()
    for number in range(PER_FILE):
        file.write_text(with_hostile(file, rng))
        what = f"{name} {number}: {file.read_text()[:2000]}"
        for words in (
            ["report", str(tmp_path / "runs"), f"--out={out}"],
            ["table", str(tmp_path / "runs")],
            ["list", "runs", f"--run_dir={tmp_path / 'runs'}"],
            ["show", str(runs[0])],
            ["significance", *map(str, runs), f"--csv={tmp_path / 'out.csv'}"],
        ):
            TRIED["commands"] += 1
            code = main(words)
            said = capsys.readouterr()
            assert code in (0, 2) and said.err.count("error: ") == (code == 2), f"{what}: {words}: {said.err}"
            assert "\x1b" not in said.out + said.err, f"{what}: {words}"
        page = Elements((out / "report.html").read_text())
        assert page.scripts == scripts and not page.problems, f"{what}: {page.problems}"
        for table in [*out.glob("*.csv"), tmp_path / "out.csv"]:
            cells = [cell for row in csv.reader(table.open(newline="")) for cell in row] if table.exists() else []
            assert not [cell for cell in cells if re.match(r"[=+@\t\r]", cell)], f"{what}: {table.name}"
        for table in out.glob("*.tex"):
            assert r"\input{" not in table.read_text() and "\x1b" not in table.read_text(), f"{what}: {table.name}"
        file.write_text(whole)
