"""Training: the optimizer, the loop, checkpoints, trial runs."""
