"""``python -m recbole_tme`` is the program ``recbole-tme``."""

import sys

from recbole_tme.cli import main

sys.exit(main())
