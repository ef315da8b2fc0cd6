"""Tables of the run that several stages read."""

EVALUATIONS = "evaluations.jsonl"
# The model tuned on the selection, as a Hugging Face folder.
MODEL = "model"

# What the map and its cells are: for the report, and for runs that join.
MAP = "map.json"
FITTED = "map"
CENTERS = "centers.npy"
CELLS = "cells.parquet"

INDEX = "index.parquet"
REJECTS = "rejects.jsonl"
COUNTS = "counts.json"

RUNS = "runs.jsonl"
FITS = "fits.json"
