"""Searches for a model's settings, on validation alone."""

# Here, so that the command line can name them without importing Ray, torch and pandas.
SEARCHES = ("optuna", "random", "hyperopt", "grid")
SCHEDULERS = ("asha", "median", "pbt", "none")
DEFAULT_TRIALS = 20
