"""Contamination: what of a pool stands in evaluation sets as well."""
