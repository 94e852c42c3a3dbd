"""The journal of a study: read as it was written, by one process at a time, and never misread."""

import pytest

from recbole_tme.errors import UserError
from recbole_tme.tuning.journal import FAILED, STOPPED, Journal


def test_the_journal_is_read_as_written_and_kept_by_one_process(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.start()
    trial = journal.begin({"k": [1, 2]})
    row = {"epoch": 1, "score": 0.5, "epoch_score": 0.5, "seconds": 2.0, "last": False}
    assert journal.epoch(trial, row) and not journal.epoch(trial, row)
    with pytest.raises(UserError, match="is in use"):
        Journal(path)
    journal.end(trial, STOPPED)
    journal.end(trial, FAILED)
    journal.close()
    again = Journal(path)
    assert again.trials == journal.trials and again.trials[0].status == STOPPED
    again.close()
    whole = path.read_bytes()
    for right, wrong, line in (
        (b'"begin"', b'"bgin"', 2),
        (b'"score": 0.5,', b"", 3),
        (b'"last": false', b'"last": 0', 3),
        (b'"epoch", "trial": 0', b'"epoch", "trial": -1', 3),
        (b'"stopped early"', b'"stopped late"', 4),
        (b'{"event": "end"', b"[" * 10**5 + b'{"event": "end"', 4),
    ):
        assert right in whole
        path.write_bytes(whole.replace(right, wrong, 1))
        with pytest.raises(UserError, match=rf"journal\.jsonl:{line}"):
            Journal(path)
