"""Baselines: chance, length, and depth or coverage alone."""
