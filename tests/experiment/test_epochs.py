"""The rows of epochs: aligned, within the terminal's width, per cent, counted from 1."""

import pytest

from recbole_tme.experiment.epochs import log_line, remaining, shown_row

ROW = {
    "phase": "select", "epoch": 2, "lr": 0.002, "loss_recommendation": 4.5, "loss_triplet": 0.0925,
    "train_seconds": 11.0, "valid_seconds": 0.4, "valid_hit@20": 0.7641, "valid_mrr@20": 0.3492, "valid_ndcg@20": 0.4,
}  # fmt: skip


def text(pieces) -> str:
    return "".join(piece if isinstance(piece, str) else piece[0] for piece in pieces)


def test_a_row_says_what_the_epoch_gave():
    shown = text(shown_row(ROW, 5, "mrr@20", best=True, left=61.0))
    assert shown == "epoch 2/5  loss  4.59  MRR@20 34.92 *best  P@20 76.41  11.4 s  about 1 min left"
    by_p = text(shown_row(ROW, 5, "hit@20", best=False, left=None))
    assert by_p == "epoch 2/5  loss  4.59  P@20 76.41        MRR@20 34.92  11.4 s"


@pytest.mark.parametrize("epochs", [5, 20, 1000])
@pytest.mark.parametrize("columns", [80, 60, 40])
def test_rows_are_aligned_and_fit(monkeypatch, epochs, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    changed = {"epoch": 1, "loss_recommendation": 0.01, "valid_mrr@20": 0.0123, "train_seconds": 0.3}
    rows = [
        text(shown_row(row, epochs, "mrr@20", best, left))
        for row, best, left in ((ROW, True, 3300.0), (ROW | changed, False, 4000.0), (ROW, False, 12.0))
    ]
    assert max(map(len, rows)) <= columns
    assert len({row.index("MRR@20") for row in rows}) == 1


def test_the_log_has_every_figure():
    line = log_line(ROW, 5, best=True)
    assert line.startswith("epoch 2/5 *best: loss 4.5925 (recommendation 4.5, triplet 0.0925), lr 0.002, ")
    for figure in ("P@20 76.41", "MRR@20 34.92", "NDCG@20 40.00", "trained in 11.0 s", "validated in 0.4 s"):
        assert figure in line


def test_the_time_left_counts_a_second_training():
    rows = [ROW | {"epoch": 1}, ROW]
    assert remaining(rows, 5, 0) == pytest.approx(3 * 11.4)
    assert remaining(rows, 5, 2) == pytest.approx(3 * 11.4 + 2 * 11.0)
    retrained = {"phase": "retrain", "epoch": 1, "lr": 0.1, "loss_a": 1.0, "train_seconds": 2.0}
    assert text(shown_row(retrained, 4, "mrr@20", False, 6.0)) == "retrain 1/4  loss  1.00   2.0 s  about 5 s left"
