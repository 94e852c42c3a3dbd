"""RecBole's MovieLens-100k, one session a user: the last click is the test, the one before it validation.

    python benchmarks/leave_one_out.py --last 20
    recbole-tme compare --dataset=ml100k-users --seeds=3 --epochs=60 --stopping_step=10 \\
        --models='recbole:SASRec loss_type=BPR,ATSRec+SASRec loss_type=BPR,recbole:SASRec,ATSRec+SASRec' \\
        --hidden_size=64 --hidden_dropout_prob=.5 --attn_dropout_prob=.5 --train_batch_size=256 --learning_rate=.001 \\
        --lr_schedule=none --weight_decay=0 --adv_step_size=.7

The cut and the settings are those of ATSRec's paper; with ``loss_type: BPR`` a target has one sampled negative, as
there. The last 20 clicks, because the paper's users have some ten clicks and MovieLens' a hundred.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from recbole_tme.data.names import Names
from recbole_tme.data.ragged import to_offsets
from recbole_tme.data.readers.atomic import write_dataset
from recbole_tme.data.readers.movielens import movielens_folder
from recbole_tme.data.sessions import PAD_TOKEN, SessionData, Sessions

NAME = "ml100k-users"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", type=Path, default=Path("dataset_atomic"), help="folder for data sets")
    parser.add_argument("--last", type=int, default=50, help="clicks of a user that are kept")
    args = parser.parse_args()
    print(write_dataset(args.data_path, leave_one_out(args.last), {"source": f"ml-100k, last {args.last} clicks"}))


def leave_one_out(last: int) -> SessionData:
    """All users in each split; a target is any click in training, and the last one alone in validation and test."""
    ratings = np.loadtxt(movielens_folder() / "ml-100k.inter", dtype=str, delimiter="\t", skiprows=1)
    user, item, _, time = ratings.T
    # Half of the ratings bear the second of the one before; those keep the order of the file, as the sort is stable.
    order = np.lexsort((time.astype(float), user))
    users, lengths = np.unique(user, return_counts=True)
    from_end = np.concatenate([np.arange(length)[::-1] for length in lengths])
    order, from_end, lengths = order[from_end < last], from_end[from_end < last], np.minimum(lengths, last)
    names, items = np.unique(item[order], return_inverse=True)

    def without_last(n: int, one_target: bool) -> Sessions:
        kept = from_end >= n
        return Sessions(
            items=(items[kept] + 1).astype(np.int32),
            offsets=to_offsets(lengths - n),
            ids=Names(users.tolist()),
            is_target=from_end[kept] == n if one_target else None,
        )

    return SessionData(
        name=NAME,
        train=without_last(2, one_target=False),
        valid=without_last(1, one_target=True),
        test=without_last(0, one_target=True),
        tokens=np.array([PAD_TOKEN, *names], dtype=object),
    )


if __name__ == "__main__":
    main()
