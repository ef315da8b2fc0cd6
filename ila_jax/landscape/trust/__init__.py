"""How far a map and a selection can be trusted."""
