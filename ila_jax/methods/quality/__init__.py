"""Methods that give every example a score of its own."""
