"""Scores of others: numbers in the records, and in files beside them."""
