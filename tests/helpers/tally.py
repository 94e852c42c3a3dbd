"""What was tried in a session of tests, by kind: the figures that the attacks print at its end."""

from collections import Counter

TRIED: Counter[str] = Counter()
