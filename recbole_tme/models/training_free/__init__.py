"""Baselines without gradients: the whole model is made from the training sessions when it is constructed."""
