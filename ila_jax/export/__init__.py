"""Export: the selection of a run in the formats of trainers."""
