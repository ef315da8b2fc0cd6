"""Projected gradients of examples, as LESS compares them."""
