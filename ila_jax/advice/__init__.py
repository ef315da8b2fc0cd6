"""The verdict before the money: whether a selection is worth a tuning."""
