"""Variants of ILA: other weights of cells, other depths, filters."""
