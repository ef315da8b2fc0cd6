"""The command `ila sweep`: a run for each point of a sweep of a config."""
