"""Signals under the base and the model that was tuned on the reference."""
