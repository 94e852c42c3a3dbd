"""Session recommendation for RecBole: TME-GNN and relatives, next to honest baselines.

Importing this package is cheap (neither torch nor RecBole is imported) and makes RecBole find our models by name.
"""

from recbole_tme.recbole_patches.hooks import install

__version__ = "0.1.0"

install()
