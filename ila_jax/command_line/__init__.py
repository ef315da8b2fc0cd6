"""The command line: how its words are read, and how a run ends."""
