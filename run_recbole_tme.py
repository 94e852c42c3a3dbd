"""The program `recbole-tme`, for a checkout: `python run_recbole_tme.py --model=TMEGNN --dataset=tmall`."""

import sys

from recbole_tme.cli import main

if __name__ == "__main__":
    # Without a word it does the main job: TMEGNN on data that every install has.
    sys.exit(main(sys.argv[1:] or ["run"]))
