"""What the documentation quotes and names is what the code says."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts" / "docs_site"))
from key_pages import recbole_keys  # noqa: E402
from message_pages import GAP, messages  # noqa: E402
from model_pages import index_page, model_names  # noqa: E402

sys.path.pop(0)

# Those of docs/new_model.md are raised in tests/models/test_broken_plugins.py.
QUOTED = re.findall(r"^error: (.*)$", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)


def as_pattern(message: str) -> str:
    return ".*".join(re.escape(part) for part in message.split(GAP))


# A message whose own words are few would fit almost anything.
KNOWN = [re.compile(as_pattern(one.text)) for one in messages() if len(one.text.replace(GAP, "")) >= 12]
# Messages that are put together from parts, by the file that holds their words.
ASSEMBLED = {
    "this is a fault of recbole-tme": "recbole_tme/cli.py",
    "RecBole is not installed; run: ": "recbole_tme/utils/installing.py",
    "cannot write ": "recbole_tme/utils/files.py",
}


@pytest.mark.parametrize("line", QUOTED)
def test_a_quoted_message_is_one_of_the_programs(line):
    if any(pattern.fullmatch(line) for pattern in KNOWN):
        return
    (file,) = [file for begin, file in ASSEMBLED.items() if line.startswith(begin)]
    assert next(begin for begin in ASSEMBLED if line.startswith(begin)) in (ROOT / file).read_text()


def test_the_messages_are_found_in_the_code():
    texts = {one.text for one in messages()}
    assert len(texts) > 400
    assert "--compare needs --models=NAME,NAME" in texts


def test_a_message_that_nobody_raises_is_noticed():
    assert not any(pattern.fullmatch("clicks.csv: the moon is full; wait") for pattern in KNOWN)


def test_every_model_has_a_page_and_every_key_of_recbole_a_row():
    names = model_names()
    assert {"TMEGNN", "DANSeR", "VSTAN"} <= set(names) and all(f"[{name}]({name}.md)" in index_page() for name in names)
    rows = recbole_keys()
    assert (
        "| `checkpoint_dir` | an error when set; instead: run_dir" in rows
        and "| `epochs` | default `20` instead of `300`" in rows
    )
