"""Transformers in Flax NNX, and the door through which weights come."""
