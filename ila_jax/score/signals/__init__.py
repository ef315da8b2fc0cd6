"""Signals: numbers of every example that some methods need, and not all."""
