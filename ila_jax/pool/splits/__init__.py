"""Splits: parts of a pool, each read for itself, and merged by one host."""
