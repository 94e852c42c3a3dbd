"""What a Python user calls and holds; :mod:`recbole_tme` names it, and the commands call it too."""
