"""Methods that choose for the examples of a target set."""
